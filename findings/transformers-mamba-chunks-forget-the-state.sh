#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0, Python 3.11.
#
# A prompt is read in two pieces with one cache, as chunked prefill, a second turn of a chat or a cached
# system prompt do. Mamba 2 and the other hybrid families continue from the recurrent state. Mamba 1 in all
# its models (mamba, falcon_mamba, jamba, zamba) begins its scan from zeros in every piece of two or more
# tokens, while convolution and attention beside it continue: no error, no warning, other outputs. One
# token at a time it continues.
#
# Seen (relative distance of the last logits from those of one pass over all tokens):
#   mamba:  12 + 12 tokens 1.4611, 12 + 12 single tokens 0.0000
#   jamba:  12 + 12 tokens 0.1162, 12 + 12 single tokens 0.0000
#   mamba2: 12 + 12 tokens 0.0000, 12 + 12 single tokens 0.0000
#
# Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0

cat > "$work/read.py" <<'PY'
import torch
from transformers import AutoModelForCausalLM, DynamicCache, JambaConfig, Mamba2Config, MambaConfig

sizes = dict(vocab_size=96, hidden_size=64, num_hidden_layers=4, pad_token_id=0, eos_token_id=1)
configs = {
    "mamba": MambaConfig(**sizes, state_size=8),
    "jamba": JambaConfig(**sizes, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
                         num_experts=2, attn_layer_period=2, attn_layer_offset=1),
    "mamba2": Mamba2Config(**sizes, num_heads=8, head_dim=16, n_groups=1, state_size=8),
}
ids = torch.tensor([[(7 * i * i + 3 * i + 5) % 90 + 3 for i in range(24)]])
as_stated = True
for name, config in configs.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)

    @torch.inference_mode()
    def distance(pieces):
        cache = DynamicCache(config=config)
        for piece in ids.split(pieces, dim=1):
            last = model(input_ids=piece, cache=cache, use_cache=True).logits[0, -1]
        whole = model(input_ids=ids, use_cache=False).logits[0, -1]
        return float((last - whole).norm() / whole.norm())

    chunk, single = distance([12, 12]), distance([12] + [1] * 12)
    print(f"{name}: 12 + 12 tokens {chunk:.4f}, 12 + 12 single tokens {single:.4f}")
    as_stated &= single < 1e-3 and (chunk < 1e-3 if name == "mamba2" else chunk > 0.05)
raise SystemExit(0 if as_stated else 1)
PY
"$work/venv/bin/python" "$work/read.py" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
