#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0, Python 3.11.
#
# Nemotron-H and Zamba 2 raise the time steps of their Mamba 2 layers to time_step_min (0.001 by default)
# where they compute several tokens, and do not where they compute one. So the state after a text, and all
# that follows from it, depends on whether the text was read or written: `generate` continues its own
# tokens otherwise than the same tokens in a prompt. Models whose limit is (0, inf), such as Bamba by
# default, give the same both ways.
#
# Seen (relative distance of the logits after 24 tokens, all read at once, from those one by one):
#   nemotron_h: 0.0049
#   zamba2: 0.0354
#   bamba: 0.0000
#
# Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0

cat > "$work/read.py" <<'PY'
import torch
from transformers import AutoModelForCausalLM, BambaConfig, DynamicCache, NemotronHConfig, Zamba2Config

sizes = dict(vocab_size=96, hidden_size=64, intermediate_size=48, num_attention_heads=4,
             num_key_value_heads=2, pad_token_id=0)
kinds = ["linear_attention", "linear_attention", "full_attention", "linear_attention"]
shared = ["hybrid" if kind == "full_attention" else kind for kind in kinds]
configs = {
    "nemotron_h": NemotronHConfig(**sizes, layers_block_type=kinds, num_hidden_layers=4, head_dim=16,
                                  mamba_num_heads=8, mamba_head_dim=16, n_groups=1, ssm_state_size=8),
    "zamba2": Zamba2Config(**{**sizes, "num_key_value_heads": 4}, layers_block_type=shared,
                           num_hidden_layers=4, adapter_rank=8),
    "bamba": BambaConfig(**sizes, num_hidden_layers=4, attn_layer_indices=[2], mamba_n_heads=8,
                         mamba_d_state=8),
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
    def read(pieces):
        cache, places = DynamicCache(config=config), torch.arange(24)[None].split(pieces, dim=1)
        for piece, place in zip(ids.split(pieces, dim=1), places):
            last = model(input_ids=piece, position_ids=place, cache=cache, use_cache=True).logits[0, -1]
        return last

    whole, single = read([24]), read([1] * 24)
    distance = float((whole - single).norm() / whole.norm())
    print(f"{name}: {distance:.4f}")
    as_stated &= distance < 1e-4 if name == "bamba" else distance > 1e-3
raise SystemExit(0 if as_stated else 1)
PY
"$work/venv/bin/python" "$work/read.py" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
