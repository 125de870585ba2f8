# SPDX-License-Identifier: GPL-2.0-or-later
"""One minute of the stress test (tests/native/stress runs it for longer).
VMTEST_SEED and VMTEST_STRESS_SECONDS are its parameters."""
import os

from stress import Stress
from vmtest import Failure, need


def stress(t):
    need()
    seed = int(os.environ.get('VMTEST_SEED', '1'))
    seconds = int(os.environ.get('VMTEST_STRESS_SECONDS', '60'))
    try:
        t.note(Stress(t, seed, seconds).run())
    except Failure as e:
        raise Failure('seed %d: %s' % (seed, e)) from e


stress.limit = 300 + int(os.environ.get('VMTEST_STRESS_SECONDS', '60'))

TESTS = [('stress', stress)]
