#!/usr/bin/env bash
# transformers 5.24.0 with peft 0.21.2, torch 2.13.0, Python 3.11.
#
# A LoRA adapter is saved to a folder, merged, and the merged model is saved to the same folder, which
# then holds model.safetensors beside adapter_config.json and adapter_model.safetensors. Loading that
# folder with AutoModelForCausalLM.from_pretrained puts the adapter on top of the weights that it is
# merged into already, without a warning: but only where peft is installed. The same call on the same
# files gives the merged model on a machine without peft.
#
# Seen:
#   with peft: LlamaForCausalLM, distance from the merged model 4.7318, from the adapter applied twice 0.0000
#   without peft: LlamaForCausalLM, distance from the merged model 0.0000
#
# Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 transformers==5.24.0 peft==0.21.2

cat > "$work/make.py" <<'PY'
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

folder, answers = Path(sys.argv[1]) / "tuned", {}
torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, initializer_range=0.3)).eval()
settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
tuned = get_peft_model(base, settings)
for name, weight in tuned.named_parameters():
    if "lora_" in name:
        torch.nn.init.normal_(weight, std=0.5)
tuned.save_pretrained(folder)
deltas = {
    name.removeprefix("base_model.model."): module.get_delta_weight("default").detach().clone()
    for name, module in tuned.named_modules()
    if hasattr(module, "get_delta_weight")
}
merged = tuned.merge_and_unload()
merged.save_pretrained(folder)
ids = torch.arange(16)[None]
with torch.no_grad():
    answers["merged"] = merged(ids).logits
    for name, delta in deltas.items():
        merged.get_submodule(name).weight += delta
    answers["twice"] = merged(ids).logits
torch.save(answers, Path(sys.argv[1]) / "answers.pt")
PY
cat > "$work/load.py" <<'PY'
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

answers = torch.load(Path(sys.argv[1]) / "answers.pt")
model = AutoModelForCausalLM.from_pretrained(Path(sys.argv[1]) / "tuned").eval()
with torch.no_grad():
    logits = model(torch.arange(16)[None]).logits
once, twice = (float((logits - answers[name]).abs().max()) for name in ("merged", "twice"))
print(f"{sys.argv[2]}: {type(model).__name__}, distance from the merged model {once:.4f}", end="")
print(f", from the adapter applied twice {twice:.4f}" if once > 1e-3 else "")
expected = once < 1e-3 if sys.argv[2] == "without peft" else once > 1e-2 and twice < 1e-3
raise SystemExit(0 if expected else 1)
PY
"$work/venv/bin/python" "$work/make.py" "$work"
"$work/venv/bin/python" "$work/load.py" "$work" "with peft"
"$work/venv/bin/pip" uninstall --quiet --yes peft
"$work/venv/bin/python" "$work/load.py" "$work" "without peft"
