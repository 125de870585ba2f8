# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest larger than its budget: right bytes, bounded memory."""
import os
import random
import stat
import time

from vmtest import (MIB, PATIENCE, RSS_MARGIN_MIB, QmpError, Skip, check,
                    need)

MEM = 192          # MiB of RAM
WORK_MIB = 160     # of which the guest uses
BUDGET = 96
WORK = {'mib': WORK_MIB, 'rate': 40, 'verify': 1, 'fill': 'zero-part'}


def start(t, *, append=None, name='vm', **kw):
    need()
    options = {'memory': BUDGET}
    options.update(kw.pop('vmemdirect', {}))
    guest = t.guest(name)
    work = dict(WORK)
    work.update(append or {})
    vm = t.vm(guest, name, mem=MEM, vmemdirect=options, append=work, **kw)
    guest.wait_filled(alive=[vm], timeout=90)
    return guest, vm


def check_bounds(vm):
    """What the engine says of itself agrees with its budget."""
    p = vm.paging()
    used = p['resident-bytes'] + p['frames-bytes']
    check(used <= p['budget-bytes'], 'resident %d + frames %d > budget %d',
          p['resident-bytes'], p['frames-bytes'], p['budget-bytes'])
    check(p['read-errors'] == 0 and p['write-errors'] == 0,
          'I/O errors: %r', vm.brief())
    vm.check_rss()
    return p


def paged(t, passes=2, **kw):
    guest, vm = start(t, **kw)
    guest.wait_verified(passes, alive=[vm])
    p = check_bounds(vm)
    check(p['page-out-bytes'] > 0 and p['page-in-bytes'] > 0,
          'nothing was paged: %r', vm.brief())
    t.note('in %d MiB, out %d MiB, hard faults %d, zero %d MiB',
           p['page-in-bytes'] >> 20, p['page-out-bytes'] >> 20,
           p['faults-hard'], p['zero-bytes'] >> 20)
    vm.quit()


def half_budget(t):
    paged(t)


def half_budget_2_cpus(t):
    paged(t, smp=2)


def q35_2_cpus(t):
    paged(t, machine='q35', smp=2)


def incompressible(t):
    """No zero pages to win anything by."""
    paged(t, smp=2, append={'fill': 'random'})


def sequential(t):
    paged(t, append={'pattern': 'seq', 'rate': 100})


def zipf(t):
    paged(t, append={'pattern': 'zipf', 'rate': 0, 'read': 50}, smp=2)


def unlimited_rate(t):
    """As fast as paging lets it, on two processors."""
    paged(t, smp=2, append={'rate': 0, 'verify': 3}, passes=1)


def mode_copy(t):
    """The way for kernels without UFFDIO_MOVE."""
    paged(t, smp=2, vmemdirect={'mode': 'copy'})


def io_libaio(t):
    paged(t, smp=2, vmemdirect={'io': 'libaio'})


def copy_and_libaio(t):
    paged(t, vmemdirect={'mode': 'copy', 'io': 'libaio'})


def tracker_off(t):
    paged(t, vmemdirect={'tracker': 'off'})


def chunk_pages(t, pages):
    paged(t, smp=2, passes=1, vmemdirect={'chunk-pages': pages})


def chunk_pages_1(t):
    chunk_pages(t, 1)


def chunk_pages_16(t):
    chunk_pages(t, 16)


def chunk_pages_64(t):
    chunk_pages(t, 64)


def chunk_pages_512(t):
    chunk_pages(t, 512)


def huge_bytes(vm):
    """What of the process is mapped by huge pages."""
    with open('/proc/%d/smaps' % vm.process.pid) as f:
        return 1024 * sum(int(line.split()[1]) for line in f
                          if line.startswith('AnonHugePages:'))


def need_huge_pages():
    """Skips where the kernel has none, or none for those who ask."""
    try:
        with open('/sys/kernel/mm/transparent_hugepage/enabled') as f:
            chosen = f.read()
    except OSError as e:
        raise Skip('no transparent huge pages: %s' % e)
    if '[never]' in chosen:
        raise Skip('transparent huge pages are off: %s' % chosen.strip())


def chunk_pages_auto(t):
    """Huge pages where all RAM fits, with some to spare."""
    need()
    spare = MEM // 32 + 32
    for memory, mode, pages in ((MEM + spare, 'move', 512),
                                (MEM + spare - 1, 'move', 256),
                                (MEM + spare, 'copy', 256)):
        vm = t.vm(t.guest(), '%d-%s' % (memory, mode), mem=MEM, vmemdirect={
            'memory': memory, 'mode': mode, 'chunk-pages': 'auto'})
        check(vm.paging()['chunk-pages'] == pages, '%d MiB, %s: %d', memory,
              mode, vm.paging()['chunk-pages'])
        vm.quit()


def huge_pages(t):
    """With room, chunks of 2 MiB are huge pages, through soft faults too."""
    need()
    need_huge_pages()
    guest, vm = start(t, vmemdirect={'memory': 256}, append={'fill': 'random'})
    guest.wait_verified(1, alive=[vm])
    used, huge = vm.paging()['resident-bytes'], huge_bytes(vm)
    t.note('%d of %d MiB huge', huge >> 20, used >> 20)
    check(huge >= used * 3 // 4, 'only %d of %d MiB are huge', huge >> 20,
          used >> 20)
    check_bounds(vm)
    vm.quit()


def huge_pages_circulate(t):
    """They stay whole on their way to the swap file and back: the guest's
    first ones are gone after some sweeps, and there are still many."""
    need()
    need_huge_pages()
    guest, vm = start(t, vmemdirect={'chunk-pages': 512},
                      append={'fill': 'random', 'pattern': 'seq', 'rate': 0})
    deadline = time.monotonic() + 60
    while vm.paging()['page-in-bytes'] < 4 * MEM * MIB:
        check(time.monotonic() < deadline, 'hardly paged: %r', vm.brief())
        time.sleep(0.1)
    most = 0
    for _ in range(10):
        most = max(most, huge_bytes(vm))
        time.sleep(0.1)
    t.note('%d of %d MiB huge', most >> 20, BUDGET)
    check(most >= BUDGET * MIB // 8, 'only %d MiB are huge', most >> 20)
    check_bounds(vm)
    guest.wait_verified(alive=[vm])
    vm.quit()


def plain_is_huge(t):
    """Without a pager guest RAM asks for huge pages, as QEMU's does."""
    need(paging=False)
    need_huge_pages()
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK)
    guest.wait_filled(alive=[vm], timeout=90)
    check(huge_bytes(vm) >= WORK_MIB * MIB * 3 // 4, 'only %d MiB are huge',
          huge_bytes(vm) >> 20)
    vm.quit()


def untouched_stays_zero(t):
    """RAM that the guest never touches takes neither memory nor disk."""
    need()
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=1024, vmemdirect={'memory': BUDGET},
              append={'mib': 128, 'rate': 50, 'verify': 1})
    guest.wait_verified(2, alive=[vm])
    p = check_bounds(vm)
    check(p['zero-bytes'] >= (1024 - 160) * MIB, 'only %d MiB are zero',
          p['zero-bytes'] >> 20)
    check(p['stored-bytes'] <= 160 * MIB, '%d MiB are in the swap file',
          p['stored-bytes'] >> 20)
    vm.quit()


def everything_fits(t):
    """A budget above RAM: no paging at all."""
    guest, vm = start(t, vmemdirect={'memory': 256})
    guest.wait_verified(2, alive=[vm])
    p = vm.paging()
    check(p['page-in-bytes'] == 0 and p['faults-hard'] == 0,
          'paged in although all fits: %r', vm.brief())
    vm.quit()


def budget_changes(t):
    """vmemdirect-set up and down under load; each bound is reached."""
    guest, vm = start(t, smp=2)
    generator = random.Random(1)
    for budget in (64, 128, 224, 80, generator.randrange(64, 224), 72):
        vm.set_budget(budget)
        watch_budget(vm, timeout=20)
        p = vm.paging()
        check(p['budget-bytes'] == budget * MIB, 'budget is %d',
              p['budget-bytes'])
        check(p['resident-bytes'] + p['frames-bytes'] <= budget * MIB,
              'reached, but %r', vm.brief())
        vm.rss_peak_reset()
        guest.wait_progress(4, alive=[vm])
        check_bounds(vm)
    guest.wait_verified(alive=[vm])
    vm.quit()


def watch_budget(vm, timeout):
    """Until the budget is reached: the limit only falls, and the process,
    seen from outside, keeps within it. Returns the last answer."""
    deadline = time.monotonic() + timeout * PATIENCE
    limit = None
    while True:
        b = vm.paging()['budget']
        rss = vm.rss_bytes()
        check(b['current-bytes'] <= b['limit-bytes'] and
              (limit is None or b['limit-bytes'] <= limit),
              'limit was %r, now %r', limit, b)
        limit = b['limit-bytes']
        check(rss <= limit + RSS_MARGIN_MIB * MIB,
              '%d MiB resident, limit %d MiB', rss >> 20, limit >> 20)
        check(b['remaining-bytes'] == limit - b['target-bytes'], '%r', b)
        if b['state'] == 'reached':
            check(limit == b['target-bytes'], 'reached, but %r', b)
            return b
        check(time.monotonic() < deadline, 'not reached: %r', b)
        time.sleep(0.02)


def budget_to_a_tenth(t):
    """Far below what the guest writes all the time, and back: the guest
    never stands still for long, and what it gets back it uses."""
    need()
    large, small = 400, 40
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=448, smp=2, vmemdirect={'memory': large},
              append={'mib': 384, 'rate': 0})
    guest.wait_filled(alive=[vm], timeout=90)
    at = time.monotonic()
    vm.set_budget(small)
    b = watch_budget(vm, timeout=60)
    gaps = [p[5] for p in guest.progress() if p[0] >= at]
    t.note('%d to %d MiB in %d ms; longest gap of the guest %d ms', large,
           small, b['took-ms'], max(gaps, default=0) // 1000)
    vm.rss_peak_reset()
    guest.wait_progress(10, alive=[vm])
    check_bounds(vm)
    vm.set_budget(large)
    b = vm.paging()['budget']
    check(b['state'] == 'reached' and b['took-ms'] == 0, 'growing: %r', b)
    deadline = time.monotonic() + 60 * PATIENCE
    while vm.rss_bytes() < large // 2 * MIB:
        check(time.monotonic() < deadline, 'only %d MiB are used',
              vm.rss_bytes() >> 20)
        guest.wait_progress(1, alive=[vm])
    check_bounds(vm)
    vm.quit()


def budget_loop(t):
    """Down and up again, every other time before the last change is through,
    under as much load as there can be."""
    guest, vm = start(t, smp=2, append={'rate': 0, 'verify': 2})
    vm.rss_peak_reset()
    took, steps = [], 0
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for budget in (32, 160, 128, 24, 64, 48, 176, 20):
            larger = max(budget, vm.budget_mib)
            vm.set_budget(budget)
            steps += 1
            if steps % 4 == 0:
                # The limit may still be on its way from the one before.
                vm.budget_mib = larger
                continue
            took.append(watch_budget(vm, timeout=20)['took-ms'])
            vm.check_rss(larger)  # from outside, each 30 ms
            guest.wait_progress(1, alive=[vm])
            check_bounds(vm)
    t.note('%d changes; at most %d ms to reach a budget', steps, max(took))
    vm.set_budget(BUDGET)
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def budget_too_small(t):
    """What cannot be run on is refused, and changes nothing."""
    guest, vm = start(t)
    before = vm.paging()['budget-bytes']
    least = 16 * MIB  # 16 chunks of 1 MiB
    for bad in ({'memory': 1}, {'memory': 0}, {'memory': least - 1},
                {'memory': -4096}, {'memory': 1 << 60}, {'memory': '64M'},
                {}, {'memory': BUDGET * MIB, 'x': 1}):
        try:
            vm.run('vmemdirect-set', bad)
        except QmpError as e:
            check(e.text, 'no text')
            check(bad.get('memory') not in (0, 1, least - 1) or
                  str(least) in e.text, 'the least is not told: %s', e.text)
        else:
            check(False, 'vmemdirect-set %r was taken', bad)
    p = vm.paging()
    check(p['budget-bytes'] == before and
          p['budget']['state'] == 'reached' and
          p['budget']['age-ms'] > 0, 'the budget has changed: %r',
          p['budget'])
    guest.wait_verified(alive=[vm])
    vm.set_budget(least >> 20)
    watch_budget(vm, timeout=20)
    vm.rss_peak_reset()
    guest.wait_progress(2, alive=[vm], timeout=60)
    check_bounds(vm)
    vm.set_budget(BUDGET)
    guest.wait_verified(alive=[vm])
    vm.quit()


def stop_and_continue(t):
    guest, vm = start(t, smp=2)
    for _ in range(5):
        vm.run('stop')
        time.sleep(0.2)
        at = guest.mark()
        time.sleep(0.3)
        check(guest.mark() == at, 'output while stopped')
        vm.run('cont')
        guest.wait_progress(2, alive=[vm])
    guest.wait_verified(alive=[vm])
    check_bounds(vm)
    vm.quit()


def budget_change_while_stopped(t):
    guest, vm = start(t, smp=2)
    vm.run('stop')
    vm.set_budget(64)
    time.sleep(1)
    p = vm.paging()
    check(p['resident-bytes'] + p['frames-bytes'] <= 64 * MIB,
          'a stopped VM keeps %d + %d bytes', p['resident-bytes'],
          p['frames-bytes'])
    vm.run('cont')
    vm.rss_peak_reset()
    guest.wait_verified(alive=[vm])
    check_bounds(vm)
    vm.quit()


def keys(vm):
    """By chunk: the place, the key, and the history of the pages."""
    chunks = vm.run('query-vmemdirect-history', {'chunk': 0, 'count': MEM})
    return [(c['place'], c['key'], c['history']) for c in chunks]


def warm_in_swap(chunks):
    return [c for c in chunks if c[0] == 'swap' and c[1] > 0]


def history_stands_while_stopped(t):
    """What was hot when the VM was stopped is so when it goes on, and ages
    again from there."""
    interval = 0.1
    guest, vm = start(t, append={'rate': 0},
                      vmemdirect={'aging-interval': int(interval * 1000)})
    guest.wait_progress(2, alive=[vm])
    vm.run('stop')
    time.sleep(1)  # chunks catch up with what was before
    before = keys(vm)
    check(warm_in_swap(before), 'nothing in the swap file is warm')
    time.sleep(20 * interval)
    after = keys(vm)
    check(before == after, 'of %d chunks %d have changed', len(before),
          sum(a != b for a, b in zip(before, after)))
    vm.run('cont')
    deadline = time.monotonic() + 20 * PATIENCE
    while keys(vm) == after:
        check(time.monotonic() < deadline, 'it stands although the VM runs')
        time.sleep(interval)
    guest.wait_verified(alive=[vm])
    check_bounds(vm)
    vm.quit()


def reset_under_load(t):
    guest, vm = start(t, smp=2)
    for _ in range(3):
        at = guest.mark()
        vm.run('system_reset')
        at, _ = guest.wait(r'.*G pages=\d+ hot=\d+ cpus=2 ', at, alive=[vm])
        guest.wait(r'F \d+ ', at, alive=[vm], timeout=60)
    guest.wait_verified(alive=[vm])
    check_bounds(vm)
    vm.quit()


def swap_file_is_anonymous(t):
    """Unlinked after opening; kept, with mode 0600, when asked."""
    _, vm = start(t)
    path = os.path.join(vm.dir, 'swap')
    check(not os.path.exists(path), 'the swap file has a name')
    vm.quit()
    _, vm = start(t, name='kept', vmemdirect={'keep-swap': 'on'})
    mode = os.stat(os.path.join(vm.dir, 'swap')).st_mode
    check(stat.S_IMODE(mode) == 0o600, 'mode %o', stat.S_IMODE(mode))
    vm.quit()


TESTS = [(f.__name__, f) for f in (
    half_budget, half_budget_2_cpus, q35_2_cpus, incompressible, sequential,
    zipf, unlimited_rate, mode_copy, io_libaio, copy_and_libaio,
    tracker_off, history_stands_while_stopped, chunk_pages_1,
    chunk_pages_16, chunk_pages_64, chunk_pages_512, chunk_pages_auto,
    huge_pages, huge_pages_circulate, plain_is_huge, untouched_stays_zero,
    everything_fits, budget_changes, budget_loop, budget_too_small,
    stop_and_continue, budget_change_while_stopped, budget_to_a_tenth,
    reset_under_load, swap_file_is_anonymous)]
