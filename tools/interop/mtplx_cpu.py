"""MTPLX's loader and decoder on a CPU that is not Apple's. Import before mtplx.

Three edges are met from outside, none of its logic is changed: the system library whose clock and boot name it asks for at import has a
stand-in; activations are float32, in which results are comparable; the recurrent core of a verification is "stock", since its usual one
runs on Metal only and gives wrong text without saying so elsewhere."""
import ctypes, time

import mlx.core as mx
import numpy as np


class _Function:
    """A callable that takes attributes such as restype, as those of ctypes do."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)


class _SystemLibrary:
    def __init__(self):
        self.mach_timebase_info = _Function(self._timebase)
        self.mach_continuous_time = _Function(time.monotonic_ns)
        self.sysctlbyname = _Function(lambda *arguments: 0)

    @staticmethod
    def _timebase(info):
        info._obj.numer = info._obj.denom = 1
        return 0


_open_library = ctypes.CDLL
ctypes.CDLL = lambda name, *rest, **named: (
    _SystemLibrary() if name == "/usr/lib/libSystem.B.dylib" else _open_library(name, *rest, **named))

from mtplx.generation import generate_ar, generate_mtpk
from mtplx.runtime import load
from mtplx.sampling import SamplerConfig

GREEDY = SamplerConfig(temperature=0)


def open_artifact(folder):
    runtime = load(folder)
    runtime.model.set_dtype(mx.float32)
    return runtime


def draft_logits(runtime, ids, depth):
    """[depth] rows of a greedy chain behind `ids`, whose first input is the trunk's best token; the head has read all pairs of `ids`."""
    logits, hidden = runtime.forward_ar(mx.array([ids]), cache=runtime.make_cache(), return_hidden=True)
    head = runtime.make_mtp_cache()
    runtime.update_mtp_cache(hidden[:, :-1], mx.array([ids[1:]]), mtp_cache=head)
    token, hidden, rows = mx.argmax(logits[0, -1]).item(), hidden[:, -1:], []
    for _ in range(depth):
        logits, hidden = runtime.draft_mtp(hidden, mx.array([[token]]), mtp_cache=head, return_hidden=True)
        rows.append(np.array(logits[0, -1]))
        token = int(rows[-1].argmax())
    return rows


def text(runtime, ids, n_tokens, depth):
    """Greedy tokens, and how many drafts were made and accepted at each place."""
    if not depth:
        return generate_ar(runtime, ids, max_tokens=n_tokens, sampler=GREEDY).tokens, [], []
    out = generate_mtpk(runtime, ids, max_tokens=n_tokens, sampler=GREEDY, speculative_depth=depth,
                        mtp_history_policy="committed", verify_core="stock")
    return out.tokens, out.stats.drafted_by_depth, out.stats.accepted_by_depth
