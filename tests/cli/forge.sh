#!/bin/sh
# forge: options and recipe on the command line, the dry run, the sentences of what is refused.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
trunk=models/tiny-trunk donor=models/tiny-donor

expect 0 forge --trunk $trunk --mtp $donor --out "$dir/never" --dry-run
prints 'layers.*.mlp.switch_mlp.gate_proj'
prints 'lm_head'
prints '8 bits of 64'
[ ! -e "$dir/never" ] || fail 'a dry run wrote something'
expect 0 forge --trunk $trunk --mtp $donor --dry-run --json
prints '"name": "mtp.fc"'

expect 0 forge --trunk $trunk --mtp $donor --out "$dir/one" --bits 5 --override '*lm_head=6' --override 'mtp.*=8:32' \
    --norm-encoding delta --trunk-id me/body --no-verify
prints "$dir/one"
expect 3 inspect "$dir/one"
prints 'pending_verification'
expect 0 forge --recipe "$dir/one/alula_recipe.json" --trunk $trunk --mtp $donor --out "$dir/two" --threads 1 --no-verify
for f in "$dir/one"/*; do
    case $f in */README.md) continue ;; esac # it names the folder
    cmp "$f" "$dir/two/$(basename "$f")" || fail "the recipe gave other bytes"
done
# What is given beside a recipe wins.
expect 0 forge --recipe "$dir/one/alula_recipe.json" --trunk $trunk --mtp $donor --out "$dir/three" --bits 4 --no-verify
grep -q '"bits": 4,' "$dir/three/alula_recipe.json" || fail '--bits did not win over the recipe'
sed 's/{/{"trunk": "models\/tiny-trunk", "mtp": "models\/tiny-donor", /; ' "$dir/two/alula_recipe.json" | head -n 1 >"$dir/recipe.json"
sed 1d "$dir/two/alula_recipe.json" >>"$dir/recipe.json"
expect 0 forge --recipe "$dir/recipe.json" --out "$dir/four" --no-verify
cmp "$dir/one/model.safetensors" "$dir/four/model.safetensors"

# All of it: grafted, measured, written down.
expect 0 forge --trunk $trunk --mtp $donor --out "$dir/whole"
prints 'equal to plain decoding'
# How fast it was depends on the machine: only a measured loss bars the verdict, a doubtful one does not.
want=0
if grep -q '"verdict": "\(no_mtp_depth_beat_ar\|mtp_acceptance_collapsed\)"' "$dir/whole/mtplx_runtime.json"; then want=3; fi
expect "$want" inspect "$dir/whole"
grep -q 'tiny-donor' "$dir/whole/README.md" || fail 'the card does not name the donor'
expect 0 forge --trunk $donor --out "$dir/json" --mtp-policy keep_bf16 --json
prints '"verification": {'

expect 2 forge --out "$dir/x"
says '--trunk DIR is missing'
expect 2 forge --trunk $trunk
says '--out DIR is missing'
expect 2 forge --trunk $trunk --mtp $donor --out "$dir/one"
says 'there already'
expect 1 forge --trunk $trunk --out "$dir/x"
says '--mtp'
expect 1 forge --trunk $trunk --mtp tests/data/layouts/donor --out "$dir/x"
says '(trunk: 192)'
expect 2 forge --trunk $trunk --mtp $donor --out "$dir/x" --bits 7
says 'expected 2, 3, 4, 5, 6 or 8'
expect 2 forge --trunk $trunk --mtp $donor --out "$dir/x" --override 'lm_head'
says 'PATTERN=BITS[:GROUP]'
expect 2 forge --trunk $trunk --mtp $donor --out "$dir/x" --override 'lm_haed=8'
says 'fits no matrix'
expect 2 forge --trunk $trunk --mtp $donor --out "$dir/x" --bits 3
says '--allow-degraded-mtp'
expect 0 forge --trunk $trunk --mtp $donor --out "$dir/x" --bits 3 --allow-degraded-mtp --no-verify
[ ! -e "$dir/x.forging" ] || fail 'the work folder is still there'

# What cannot be measured is said before anything is made, and so is a name that is taken.
cp -R models/tiny-donor "$dir/mute"
rm "$dir/mute/tokenizer.json"
expect 1 forge --trunk "$dir/mute" --out "$dir/silent"
says 'tokenizer.json'
says '--no-verify'
expect 1 forge --trunk models/tiny-donor --out "$dir/silent" --positions 100000
says 'places need'
expect 1 forge --trunk models/tiny-donor --out "$dir/silent" --calib "$dir/none"
says "$dir/none"
if [ -e "$dir/silent" ] || [ -e "$dir/silent.forging" ]; then fail 'packed what cannot be measured'; fi
expect 2 forge --trunk models/tiny-donor --out "$dir/mute" --dry-run
says 'there already'
ln -s "$dir/nowhere" "$dir/dangling"
expect 2 forge --trunk models/tiny-donor --out "$dir/dangling" --no-verify
says 'there already'
expect 2 forge --trunk models/tiny-donor --out '' --no-verify
says '--out'
expect 0 forge --trunk models/tiny-donor --out "$dir/silent" --dry-run --override '*lm_head=6'
prints 'maps the result'
if grep -q '.\{81\}' "$dir/out"; then fail "wider than 80 columns: $(grep '.\{81\}' "$dir/out")"; fi
