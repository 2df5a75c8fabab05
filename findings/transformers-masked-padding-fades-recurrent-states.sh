#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0, Python 3.11.
#
# A batch of continuations of several lengths is padded on the left and masked by attention_mask, as its
# documentation says for chunked prefill with a cache ("padding inside the new segment must still be
# zeroed out, otherwise it leaks into the recurrent state"). The mask zeroes what padding adds to the
# recurrent state, not the decay: the state fades with each padded token, and zeros come between the old
# and the new inputs of the convolution. So a row's outputs depend on the length of its neighbours. Without
# a state (a first prefill) nothing can fade, and padding does no harm.
#
# Seen (Qwen3-Next; relative distance of the last logits from those of one pass over all tokens):
#   continued behind 0 padded tokens: 0.0000, behind 1: 0.1681, behind 4: 0.1883
#   begun behind 4 padded tokens: 0.0000
#
# Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0

cat > "$work/read.py" <<'PY'
import torch
from transformers import AutoModelForCausalLM, DynamicCache, Qwen3NextConfig

config = Qwen3NextConfig(
    vocab_size=96, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=16,
    linear_value_head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
    shared_expert_intermediate_size=32, layer_types=["linear_attention", "full_attention"] * 2,
    pad_token_id=0,
)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(config).eval()
for weight in model.parameters():
    if weight.dim() > 1:
        torch.nn.init.normal_(weight, std=0.3)
ids = torch.tensor([[7 * i * i % 90 + 3 for i in range(20)]])


@torch.inference_mode()
def distance(read_before, padding):
    cache, zeros = DynamicCache(config=config), torch.zeros(1, padding, dtype=torch.long)
    ones = torch.ones_like(ids)
    if read_before:
        first = {"input_ids": ids[:, :read_before], "attention_mask": ones[:, :read_before]}
        model(**first, cache=cache, use_cache=True)
    last = model(
        input_ids=torch.cat([zeros, ids[:, read_before:]], 1),
        attention_mask=torch.cat([ones[:, :read_before], zeros, ones[:, read_before:]], 1),
        position_ids=torch.cat([zeros, torch.arange(read_before, 20)[None]], 1),
        cache=cache,
        use_cache=True,
    ).logits[0, -1]
    whole = model(input_ids=ids, use_cache=False).logits[0, -1]
    return float((last - whole).norm() / whole.norm())


alone, one, four, begun = distance(12, 0), distance(12, 1), distance(12, 4), distance(0, 4)
print(f"continued behind 0 padded tokens: {alone:.4f}, behind 1: {one:.4f}, behind 4: {four:.4f}")
print(f"begun behind 4 padded tokens: {begun:.4f}")
raise SystemExit(0 if max(alone, begun) < 1e-3 and min(one, four) > 1e-2 else 1)
PY
"$work/venv/bin/python" "$work/read.py" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
