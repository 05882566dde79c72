"""Compares alula with mlx-lm and MTPLX on artifacts of every policy and on MTPLX's own. Run by check.sh.

Shown: mlx-lm loads each body, with alula's logits (float32, 1e-4) and greedy text; mtplx inspect gives alula's verdict, exit status
and gate, before and after a verification; MTPLX loads each artifact, and its decoder gives alula's draft logits (1e-3), greedy text and
counts of drafts made and accepted at every depth. All this in both directions: for alula's artifacts and for MTPLX's own."""
import json, random, shutil, subprocess, sys
from pathlib import Path

import mtplx_cpu
import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

alula, work, mtplx = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
TRUNK, DONOR, THEIRS = "models/tiny-trunk", "models/tiny-donor", "tests/data/mtplx/golden/tiny-mtplx"
TOLERANCE, DRAFT_TOLERANCE, TEXT, DEPTH = 1e-4, 1e-3, 32, 3
PROMPTS = ("Once upon a time there was", "In the beginning the earth was without form, and")
passed = failed = 0
mx.set_default_device(mx.cpu)


def check(name, good, found=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'}  {name}  {found}", flush=True)


def run(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True)


def ours(folder, ids, depth=0):
    (work / "ids.json").write_text(json.dumps(ids))
    out = work / "logits.safetensors"
    r = run(alula, "eval", folder, "--ids", work / "ids.json", "--exact", "--mtp", depth, "--logits", out)
    if r.returncode:
        raise SystemExit(r.stderr)
    return {name: np.array(rows) for name, rows in mx.load(str(out)).items()}


def compare_logits(name, folder, vocab):
    model, _ = load_model(Path(folder))
    model.set_dtype(mx.float32)
    random.seed(7)
    ids = [random.randrange(vocab) for _ in range(48)]
    theirs = np.array(model(mx.array([ids]))[0].astype(mx.float32))
    worst = float(np.abs(theirs - ours(folder, ids)["logits"]).max())
    check(f"{name}: mlx-lm's logits", worst < TOLERANCE, f"largest difference {worst:.1e}")
    text = ids[:16]
    for _ in range(TEXT):
        text.append(int(mx.argmax(model(mx.array([text]))[0, -1]).item()))
    rows = ours(folder, text)["logits"]
    check(f"{name}: mlx-lm's greedy text", [int(r.argmax()) for r in rows[15:-1]] == text[16:], f"{TEXT} tokens")


def compare_verdicts(name, folder):
    a, b = run(alula, "inspect", folder, "--json"), run(mtplx, "inspect", folder, "--json")
    x, y = json.loads(a.stdout), json.loads(b.stdout)
    for part, key in [("compatibility", k) for k in ("tier", "exit_code", "can_run", "runtime_compatibility", "mtp_supported")] + [
            ("mtp", k) for k in ("tensor_count", "expected_tensor_count", "sidecar_format", "passes_tensor_gate")]:
        if x[part][key] != y[part][key]:
            check(f"{name}: mtplx inspect, {key}", False, f"{x[part][key]} and {y[part][key]}")
            return
    check(f"{name}: mtplx inspect", a.returncode == b.returncode, f"{x['compatibility']['tier']}, exit {b.returncode}")


def compare_decoding(name, folder, rounded):
    """rounded: the same head with gains in bf16. MTPLX adds the 1 of a zero-centred norm in bf16, alula in float32 as transformers does."""
    runtime = mtplx_cpu.open_artifact(folder)
    worst, parted, counts = 0.0, [], []
    for prompt in PROMPTS:
        ids = runtime.tokenizer.encode(prompt)
        rows = ours(rounded, ids, DEPTH)
        for d, theirs in enumerate(mtplx_cpu.draft_logits(runtime, ids, DEPTH), 1):
            worst = max(worst, float(np.abs(theirs - rows[f"mtp_logits_{d}"][-1]).max()))
        for depth in range(DEPTH + 1):
            r = run(alula, "run", folder, "--raw", "--exact", "--json", "-p", prompt, "-n", TEXT, "--depth", depth)
            o = json.loads(r.stdout)
            a = (o["tokens"], *(o["stats"][f"{k}_by_depth"] if depth else [] for k in ("drafted", "accepted")))
            b = mtplx_cpu.text(runtime, ids, TEXT, depth)
            if a != b:
                parted.append(f"{prompt!r}, depth {depth}: {a} and {b}")
            counts.append(b[2])
    check(f"{name}: MTPLX's draft logits", worst < DRAFT_TOLERANCE, f"largest difference {worst:.1e}")
    check(f"{name}: MTPLX's greedy texts and counts", not parted, "; ".join(parted) or f"accepted {counts[DEPTH::DEPTH + 1]}")


for policy in ("quantize", "keep_bf16", "quantize_at_load"):
    for norms in ("absolute", "delta"):
        folder = work / f"{policy}-{norms}"
        shutil.rmtree(folder, ignore_errors=True)
        r = run(alula, "forge", "--trunk", TRUNK, "--mtp", DONOR, "--out", folder, "--mtp-policy", policy, "--norm-encoding", norms,
                "--no-verify")
        check(f"{folder.name}: forged", r.returncode == 0, r.stderr.strip())
        compare_verdicts(folder.name, folder)
        compare_decoding(folder.name, folder, work / f"{policy}-absolute")
    compare_logits(f"{policy}-absolute", work / f"{policy}-absolute", 2000)
folder = work / "quantize-absolute"
r = run(alula, "forge", "verify", folder)
check("quantize-absolute: verified", r.returncode == 0, r.stderr.strip())
compare_verdicts("quantize-absolute, verified", folder)
compare_verdicts("MTPLX's own artifact", THEIRS)
compare_logits("MTPLX's own artifact", THEIRS, 500)
compare_decoding("MTPLX's own artifact", THEIRS, THEIRS)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
