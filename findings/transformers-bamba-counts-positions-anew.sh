#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0, Python 3.11.
#
# BambaForCausalLM continues a text with the cache of an earlier forward pass. Where position_ids are
# left out, which is allowed, it takes the new tokens for the first ones of a text: its attention layers
# rotate them to position 0, and the logits are others than those of the whole text. `generate` gives
# positions, so it is not affected. Twenty other hybrid families continue from what the cache holds.
#
# Seen (distance of the last logits from those of one pass over the whole text):
#   without position_ids: 4.9133
#   with position_ids: 0.0000
#
# Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0

cat > "$work/continue.py" <<'PY'
import torch
from transformers import BambaConfig, BambaForCausalLM, DynamicCache

torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2)
attention = dict(num_attention_heads=4, num_key_value_heads=2, attn_layer_indices=[1])
mamba = dict(mamba_n_heads=4, mamba_d_head=32, mamba_d_state=16, mamba_chunk_size=8)
config = BambaConfig(**sizes, **attention, **mamba, initializer_range=0.3)
model, ids = BambaForCausalLM(config).eval(), torch.arange(3, 23)[None]
distances = {}
with torch.no_grad():
    whole = model(input_ids=ids, use_cache=False).logits[:, -1]
    for name in ("without position_ids", "with position_ids"):
        cache = DynamicCache(config=config)
        for start, part in ((0, ids[:, :-1]), (ids.shape[1] - 1, ids[:, -1:])):
            positions = torch.arange(start, start + part.shape[1])[None]
            given = {"position_ids": positions} if name == "with position_ids" else {}
            logits = model(input_ids=part, cache=cache, use_cache=True, **given).logits[:, -1]
        distances[name] = float((logits - whole).abs().max())
        print(f"{name}: {distances[name]:.4f}")
apart, together = distances.values()
raise SystemExit(0 if apart > 0.1 and together < 1e-3 else 1)
PY
"$work/venv/bin/python" "$work/continue.py" 2>/dev/null
