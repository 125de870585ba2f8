# SPDX-License-Identifier: GPL-2.0-or-later
"""The physical limits: the same file system by fio and O_DIRECT, and what it
takes to wake a thread."""
import json
import os
import shutil
import subprocess

import vmtest

# name: (rw, block size, depth)
JOBS = {
    'read-4k-qd1': ('randread', '4k', 1),
    'read-4k-qd8': ('randread', '4k', 8),
    'read-1m-qd1': ('read', '1m', 1),
    'read-1m-qd8': ('read', '1m', 8),
    'write-1m-qd8': ('write', '1m', 8),
    'mix-1m-qd8': ('rw', '1m', 8),
}


WAKE = 'wake'


def wake_cost(times):
    """What wake-cost.c says; on one processor, "other" is the same one."""
    program = os.path.join(vmtest.build_dir(), 'tests', 'bench', 'wake-cost')
    out = json.loads(subprocess.run([program, str(times)], check=True,
                                    capture_output=True, text=True).stdout)
    out.setdefault('other', out['same'])
    return out


def reason():
    return None if shutil.which('fio') else 'no fio'


class RawDevice:
    """A file full of random bytes, and measurements on it."""

    def __init__(self, directory, mib):
        self.path = os.path.join(directory, 'raw')
        self.mib = mib
        self.fio('write', '1m', 8, ['--end_fsync=1'])

    def fio(self, rw, block, depth, extra):
        out = subprocess.run(
            ['fio', '--name=raw', '--filename=' + self.path,
             '--size=%dm' % self.mib, '--direct=1', '--rw=' + rw,
             '--bs=' + block, '--iodepth=%d' % depth, '--ioengine=io_uring',
             '--norandommap=1', '--randrepeat=0', '--refill_buffers=1',
             '--lat_percentiles=1', '--clat_percentiles=0',
             '--percentile_list=50:90:99:99.9', '--output-format=json',
             *extra], check=True, capture_output=True, text=True,
            cwd=os.path.dirname(self.path))
        return json.loads(out.stdout)['jobs'][0]

    def measure(self, name, seconds):
        """MiB/s, operations/s, and percentiles in us, of both directions."""
        rw, block, depth = JOBS[name]
        job = self.fio(rw, block, depth, ['--time_based=1',
                                          '--runtime=%g' % seconds])
        out = {}
        for way in ('read', 'write'):
            if job[way]['io_bytes'] == 0:
                continue
            out[way] = {
                'mib-per-s': job[way]['bw_bytes'] / (1 << 20),
                'ops-per-s': job[way]['iops'],
                'us': {'p%g' % float(p): ns / 1000 for p, ns in
                       job[way]['lat_ns']['percentile'].items()},
            }
        cpu = job['job_runtime'] / 1000 * (job['usr_cpu'] +
                                           job['sys_cpu']) / 100
        paged = job['read']['io_bytes'] + job['write']['io_bytes']
        out['cpu-s-per-gib'] = cpu / (paged / (1 << 30))
        return out
