# SPDX-License-Identifier: GPL-2.0-or-later
"""One live migration, measured: who moves what, over what, and how it went."""
import time

import bench
import kernel_swap
import link
import vmtest
from vmtest import MIB

ENOUGH = 110    # percent of RAM
SLACK_MIB = 48  # of RAM: the guest's image, and what it does not use
RIVAL_VMM_MIB = 48      # QEMU beside guest RAM, in its group
RIVAL_SPARE_MIB = (0, 16, 32, 64, 128)  # until the kernel lets it live
SAMPLE_S = 0.05
BEFORE_S, AFTER_S = 2.0, 1.0
SETTLE_LINES = 100      # of the guest's progress, ten a second
CONVERGE_S = 60         # a migration that has not ended by then does not

# hot: percent of RAM; rate: MiB/s, 0 is as fast as it can.
GUESTS = {
    'idle': {'hot': 1, 'rate': 1},
    'key-value': {'pattern': 'zipf', 'read': 90, 'hot': 40, 'rate': 0},
    'write-heavy': {'hot': 50, 'rate': 0},
}


class Setup:
    """source, destination: percent of RAM as budget; None: no -vmemdirect.
    swap: percent of RAM that stock QEMU's destination may have of the host's
    memory, the rest is the kernel's swap."""

    def __init__(self, name, *, stock=False, source=None, destination=None,
                 swap=None, capabilities=(), channels=2):
        self.name = name
        self.stock = stock
        self.source = source
        self.destination = destination
        self.swap = swap
        self.capabilities = capabilities
        self.channels = channels  # with multifd


SETUPS = (
    Setup('stock', stock=True),
    Setup('stock multifd', stock=True, capabilities=('multifd',)),
    Setup('stock to swap 50 %', stock=True, swap=50),
    Setup('stock multifd to swap 50 %', stock=True, swap=50,
          capabilities=('multifd',)),
    Setup('stock to swap 25 %', stock=True, swap=25),
    Setup('ours', source=ENOUGH, destination=ENOUGH),
    Setup('ours multifd', source=ENOUGH, destination=ENOUGH,
          capabilities=('multifd',)),
    Setup('ours multifd 4', source=ENOUGH, destination=ENOUGH,
          capabilities=('multifd',), channels=4),
    Setup('ours to 50 %', source=ENOUGH, destination=50),
    Setup('ours to 25 %', source=ENOUGH, destination=25),
    Setup('ours 50 % to 50 %', source=50, destination=50),
    Setup('ours 50 % to enough', source=50, destination=ENOUGH),
    # As stock without throttling may not converge.
    Setup('ours, throttled', source=ENOUGH, destination=ENOUGH,
          capabilities=('auto-converge',)),
)


def append(guest, mem_mib):
    out = {'mib': mem_mib - SLACK_MIB, 'seed': 7, 'verify': 1000000,
           **GUESTS[guest]}
    out['hot'] = max(mem_mib * out['hot'] // 100, 1)
    return out


def budget(percent, mem_mib):
    return {'vmemdirect': {'memory': mem_mib * percent // 100}} \
        if percent is not None else {}


class Samples:
    """rows: (seconds, status, pass, sent bytes, to RAM, to swap) of the
    source."""

    def __init__(self):
        self.rows = []

    def add(self, info):
        ram, own = info.get('ram', {}), info.get('vmemdirect', {})
        self.rows.append((bench.time_s(), info.get('status'),
                          ram.get('dirty-sync-count', 0),
                          ram.get('transferred', 0),
                          own.get('sent-ram-bytes', 0),
                          own.get('sent-swap-bytes', 0)))


# --- the guest's speed --------------------------------------------------------

def speed(points):
    """Pages a second between the first and the last line of progress. By the
    guest's time where that is longer: lines may be read late."""
    if len(points) < 2:
        return None
    first, last = points[0], points[-1]
    done = sum(last[3:5]) - sum(first[3:5])
    return done / max(last[0] - first[0], (last[2] - first[2]) / 1e6, 1e-6)


def speeds(guest, begin, second_pass, gap_ms):
    """Before, in the first pass, in the first second after the switch-over."""
    points = guest.progress()
    at_source = [p for p in points if p[1] == 'a']
    at_destination = [p for p in points if p[1] == 'b']
    before = speed([p for p in at_source if begin - BEFORE_S <= p[0] < begin])
    end = min(second_pass, at_source[-1][0])
    during = speed([p for p in at_source if begin <= p[0] <= end])
    after = None
    last = at_source[-1]
    later = [p for p in at_destination
             if p[0] >= at_destination[0][0] + AFTER_S] \
        if at_destination else []
    if later:
        done = sum(later[0][3:5]) - sum(last[3:5])
        after = done / max(later[0][0] - last[0] - gap_ms / 1000, 1e-3)
    return {'before': before, 'first-pass': during, 'after': after}


def timeline(guest, begin):
    """(seconds since the migration began, pages a second), each 100 ms."""
    out, last = [], None
    for p in guest.progress():
        if last is not None:
            out.append((round(p[0] - begin, 3),
                        round(speed([last, p]))))
        last = p
    return out


# --- a move -------------------------------------------------------------------

class Destination:
    """Where it goes, in a memory group of its own."""

    def __init__(self, test, setup, mem_mib, spare_mib):
        swap = setup.swap is not None
        self.group = kernel_swap.KernelSwap(
            test.dir, 2 * mem_mib + 256 if swap else 0)
        test.cleanup(self.group.close)
        if swap:
            self.group.roomy(mem_mib * setup.swap // 100 + RIVAL_VMM_MIB +
                             spare_mib)

    def high_mib(self):
        return self.group.highest_bytes() / MIB


def set_capabilities(vms, setup):
    for vm in vms:
        vm.run('migrate-set-capabilities', {'capabilities': [
            {'capability': name, 'state': True}
            for name in setup.capabilities]})
        if 'multifd' in setup.capabilities:
            vmtest.set_parameters(vm, multifd_channels=setup.channels)


def converge(source, destination, uri, samples):
    """query-migrate's last answer, or None: cancelled for taking too long."""
    vmtest.set_parameters(source, max_bandwidth=10 << 30, downtime_limit=300)
    source.run('migrate', {'uri': uri})
    deadline = bench.time_s() + CONVERGE_S * vmtest.PATIENCE
    while True:
        info = source.run('query-migrate')
        samples.add(info)
        if info['status'] in vmtest.FINISHED:
            break
        if bench.time_s() > deadline:
            source.run('migrate_cancel')
            vmtest.wait_migration(source, 60)
            return None
        time.sleep(SAMPLE_S)
    vmtest.check(info['status'] == 'completed', 'migration: %s %s; %s',
                 info['status'], info.get('error-desc', ''),
                 destination.stderr())
    destination.wait_status('running', timeout=60)
    return info


def figures(setup, info, source, destination, guest, samples):
    begin = samples.rows[0][0]
    second = next((r[0] for r in samples.rows if r[2] >= 2),
                  samples.rows[-1][0])
    gap = guest.gap_ms('a', 'b') or 0
    out = {'total-ms': info['total-time'], 'downtime-ms': info['downtime'],
           'gap-ms': gap, 'passes': info['ram']['dirty-sync-count'],
           'sent-mib': info['ram']['transferred'] / MIB,
           'speed': speeds(guest, begin, second, gap),
           'timeline': timeline(guest, begin),
           'samples': [[round(r[0] - begin, 3), *r[1:]]
                       for r in samples.rows]}
    if not setup.stock:
        own = info['vmemdirect']
        out['parts-us'] = {k: v for k, v in own.items() if k.endswith('-us')}
        theirs = destination.run('query-migrate').get('vmemdirect', {})
        out['paged-in'] = own['pages-in'] + theirs.get('pages-in', 0)
        out['paged-out'] = own['pages-out'] + theirs.get('pages-out', 0)
        out['to-swap-mib'] = own['sent-swap-bytes'] / MIB
    return out


def move(test, setup, guest_name, mem_mib, link_name, spare_mib=0):
    """Moves a guest once; what was measured."""
    way = link.make(link_name)
    test.cleanup(way.close)
    guest = test.guest()
    work = append(guest_name, mem_mib)
    source = test.vm(guest, 'a', stock=setup.stock, mem=mem_mib, append=work,
                     prefix=way.prefixes[0], **budget(setup.source, mem_mib))
    guest.wait_filled(timeout=300, alive=[source])
    guest.wait_progress(SETTLE_LINES, timeout=60, alive=[source])
    where = Destination(test, setup, mem_mib, spare_mib)
    uri = way.uri()
    # The address is given later: capabilities come first.
    destination = test.vm(
        guest, 'b', stock=setup.stock, mem=mem_mib, append=work,
        incoming='defer', prefix=way.prefixes[1] + where.group.prefix(),
        **budget(setup.destination, mem_mib))
    if setup.capabilities:
        set_capabilities((source, destination), setup)
    destination.run('migrate-incoming', {'uri': uri})
    source.rss_peak_reset()
    rss = source.rss_bytes()
    samples = Samples()
    cpu = bench.cpu_seconds(source)
    guest_cpu = bench.process_cpu(source.process.pid)[1]
    info = converge(source, destination, uri, samples)
    result = {'setup': setup.name, 'guest': guest_name, 'mem-mib': mem_mib,
              'link': way.name, 'converged': info is not None,
              'spare-mib': spare_mib,
              'source-grew-mib': (source.rss_peak_reset() - rss) / MIB}
    if info is None:
        return result
    now, now_guest = bench.process_cpu(source.process.pid)
    result['source-cpu-s'] = now - cpu - (now_guest - guest_cpu)
    guest.wait_progress(12, timeout=120, alive=[destination])
    result.update(figures(setup, info, source, destination, guest, samples))
    result['destination-high-mib'] = where.high_mib()
    if setup.destination is not None:
        result['destination-rss-mib'] = max(
            destination.rss_max, bench.rss_high_bytes(destination)) / MIB
        result['destination-budget-mib'] = destination.budget_mib
    guest.check_right()
    return result


def move_or_give_more(setup, guest_name, mem_mib, link_name):
    """The kernel may kill a rival in a tight group: it gets more memory."""
    spares = RIVAL_SPARE_MIB if setup.swap is not None else (0,)
    for spare in spares:
        try:
            return bench.with_test('move', move, setup, guest_name, mem_mib,
                                   link_name, spare)
        except vmtest.Failure as e:
            if not e.killed or setup.swap is None:
                raise
    return {'setup': setup.name, 'guest': guest_name, 'mem-mib': mem_mib,
            'link': link_name, 'converged': False, 'killed': len(spares)}
