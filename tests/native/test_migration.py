# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration between two processes, with and without paging, in all
directions; every byte verified before and after."""
import os
import time

from vmtest import (MIB, Failure, QmpError, check, gives_up, migrate,
                    migration_address, need, set_parameters, wait_migration)
from test_paging import huge_bytes, need_huge_pages

MEM = 192
WORK = {'mib': 160, 'hot': 32, 'rate': 40, 'verify': 1, 'fill': 'zero-part'}
TIGHT = 96
ENOUGH = 256


def vm_options(budget, **options):
    return {} if budget is None else {
        'vmemdirect': dict(options, memory=budget)}


def start_source(t, budget, *, append=None, cpus=1, options=None, name='a',
                 **kw):
    need(paging=budget is not None)
    guest = t.guest()
    source = t.vm(guest, name, mem=MEM, smp=cpus,
                  append=dict(WORK, **(append or {})),
                  **vm_options(budget, **(options or {})), **kw)
    guest.wait_filled(alive=[source], timeout=90)
    return guest, source


def start_destination(t, guest, source, budget, uri, *, cpus=1, name='b',
                      options=None, **kw):
    return t.vm(guest, name, mem=MEM, smp=cpus, incoming=uri, append=WORK,
                **vm_options(budget, **(options or {})), **kw)


def check_only_one_runs(guest, stopped, running):
    """After the hand-over the source says nothing more."""
    time.sleep(0.3)
    at = guest.mark()
    guest.wait_progress(3, alive=[running])
    check(all(name == running.name for _, name, _ in guest.lines[at:]),
          'both %s and %s run the guest', stopped.name, running.name)
    check(stopped.status() == 'postmigrate', 'the source is %s',
          stopped.status())


def note(t, guest, info, source, destination):
    v = info.get('vmemdirect', {})
    t.note('total %s ms, downtime %s ms, guest lost %.1f ms; RAM %s, swap %s,'
           ' zero %s MiB; from swap %s MiB; pages in by the guest %s, out %s',
           info.get('total-time'), info.get('downtime'),
           guest.gap_ms(source.name, destination.name) or -1,
           *[v.get(k, 0) >> 20 for k in ('sent-ram-bytes', 'sent-swap-bytes',
                                         'zero-bytes', 'from-swap-bytes')],
           v.get('pages-in'), v.get('pages-out'))


def move(t, from_budget, to_budget, *, kind='tcp', cpus=1, append=None,
         options=None):
    need(paging=from_budget is not None or to_budget is not None)
    guest, source = start_source(t, from_budget, cpus=cpus, append=append,
                                 options=options)
    guest.wait_verified(alive=[source])
    uri = migration_address(kind, t.dir)
    destination = start_destination(t, guest, source, to_budget, uri,
                                    cpus=cpus, options=options)
    info = migrate(source, destination, uri)
    check_only_one_runs(guest, source, destination)
    note(t, guest, info, source, destination)
    if to_budget is not None:
        destination.check_rss()
    guest.wait_verified(alive=[destination])
    if to_budget is not None:
        destination.check_rss()
    if from_budget is not None:
        source.check_rss()
    source.quit()
    guest.wait_progress(2, alive=[destination])
    destination.quit()
    return info


def plain_to_plain(t):
    move(t, None, None)


def plain_to_plain_unix_2_cpus(t):
    move(t, None, None, kind='unix', cpus=2)


def enough_to_tight(t):
    move(t, ENOUGH, TIGHT, cpus=2)


def tight_to_enough(t):
    move(t, TIGHT, ENOUGH, kind='unix', cpus=2)


def tight_to_tight(t):
    move(t, TIGHT, TIGHT)


def tight_to_tighter_2_cpus(t):
    move(t, TIGHT, 64, kind='unix', cpus=2)


def written_chunks_go_to_ram(t):
    """The source knows no history, and plans swap for the chunks that the
    guest writes: they change places while it moves, so that hardly any of
    them is read from the destination's disk when it runs there."""
    work = {'verify': 1000, 'fill': 'random', 'hot': 32}
    guest, source = start_source(t, None, append=work)
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    guest.wait_progress(5, alive=[source])
    info = migrate(source, destination, uri)
    guest.wait_progress(10, alive=[destination])
    read = destination.paging()['page-in-bytes']
    t.note('%d passes, %d KiB read', info['ram']['dirty-sync-count'],
           read >> 10)
    check(read < 4 * MIB, '%d MiB of 32 were read', read >> 20)
    destination.check_rss()


def plain_to_tight(t):
    move(t, None, TIGHT, kind='unix')


def tight_to_plain(t):
    move(t, TIGHT, None)


def tight_to_tight_mode_copy(t):
    move(t, TIGHT, TIGHT, cpus=2, options={'mode': 'copy'})


def tight_to_tight_chunk_16(t):
    move(t, TIGHT, TIGHT, cpus=2, options={'chunk-pages': 16})


def tight_to_tight_chunk_512(t):
    move(t, TIGHT, TIGHT, cpus=2, options={'chunk-pages': 512})


def other_chunk_sizes(t):
    """From large chunks to small ones and back, with little memory."""
    guest, vm = start_source(t, TIGHT, cpus=2, options={'chunk-pages': 512})
    for number, pages in enumerate((64, 256, 16, 512)):
        uri = migration_address('unix', t.dir, str(number))
        destination = start_destination(t, guest, vm, TIGHT, uri, cpus=2,
                                        name='vm%d' % number,
                                        options={'chunk-pages': pages})
        note(t, guest, migrate(vm, destination, uri), vm, destination)
        guest.wait_verified(alive=[destination])
        destination.check_rss()
        vm.quit()
        vm = destination
    vm.quit()


def huge_pages_arrive(t):
    """With room on both sides, what is huge at the source is huge at the
    destination, though half of it is written again on the way."""
    need()
    need_huge_pages()
    options = {'chunk-pages': 512}
    guest, source = start_source(t, ENOUGH, options=options,
                                 append={'fill': 'random', 'hot': 80})
    guest.wait_verified(alive=[source])
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, ENOUGH, uri,
                                    options=options)
    set_parameters(source, max_bandwidth=256 * MIB, downtime_limit=100)
    source.run('migrate', {'uri': uri})
    wait_migration(source, 60)
    used, huge = (destination.paging()['resident-bytes'],
                  huge_bytes(destination))
    t.note('%d of %d MiB huge', huge >> 20, used >> 20)
    check(huge >= used * 3 // 4, 'only %d of %d MiB are huge', huge >> 20,
          used >> 20)
    guest.wait_verified(alive=[destination])
    source.quit()
    destination.quit()


def libaio(t):
    move(t, TIGHT, TIGHT, options={'io': 'libaio'})


def hot_everywhere(t):
    """The whole memory is being written while it moves."""
    move(t, TIGHT, TIGHT, cpus=2, append={'hot': 160, 'rate': 20})


def checksums(t):
    """Pages that change between their being summed and being sent are no
    damage. How often that happens is chance; the guest writes all it can."""
    guest, source = start_source(t, TIGHT, cpus=2,
                                 append={'hot': 160, 'rate': 100})
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'checksum', 'state': True}]})
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri, cpus=2)
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def incompressible(t):
    move(t, TIGHT, TIGHT, append={'fill': 'random'})


def no_paging_by_migration(t):
    """A guest whose hot set is in memory migrates to half of its RAM, and
    back, without one page in or out by touch on either side."""
    guest, source = start_source(t, ENOUGH, append={'verify': 8})
    # A second verification would page: move right after the first.
    guest.wait_verified(alive=[source])
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    info = migrate(source, destination, uri)
    at_destination = destination.run('query-migrate')
    for side, answer in (('source', info), ('destination', at_destination)):
        v = answer['vmemdirect']
        check(v['pages-in'] == 0 and v['pages-out'] == 0,
              'pages in %d, out %d at the %s', v['pages-in'], v['pages-out'],
              side)
    v = info['vmemdirect']
    check(v['sent-swap-bytes'] > 0 and v['sent-ram-bytes'] > 0,
          'nothing was placed: %r', v)
    source.quit()
    guest.wait_verified(alive=[destination])
    note(t, guest, info, source, destination)
    destination.quit()


def cold_memory_from_swap(t):
    """What is swapped out at the source travels from the swap file; nothing
    is paged in for it."""
    guest, source = start_source(t, TIGHT, append={'verify': 8})
    guest.wait_verified(alive=[source])
    time.sleep(1)  # the hot set comes back into memory
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    info = migrate(source, destination, uri)
    guest.wait_progress(2, alive=[destination])
    note(t, guest, info, source, destination)
    v = info['vmemdirect']
    check(v['from-swap-bytes'] > 16 * MIB, 'only %d bytes from the swap file',
          v['from-swap-bytes'])
    check(v['pages-in'] * 4096 < 8 * MIB, '%d pages in at the source',
          v['pages-in'])
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def paused_stays_paused(t):
    guest, source = start_source(t, TIGHT)
    source.run('stop')
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    set_parameters(source, max_bandwidth=10 << 30)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] == 'completed', 'migration %r', info)
    destination.wait_status('paused')
    at = guest.mark()
    time.sleep(0.4)
    check(guest.mark() == at, 'a paused guest runs')
    destination.run('cont')
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def late_block_activate(t):
    """Who arrives paused leaves the image to others until it is to run."""
    disk = os.path.join(t.dir, 'disk')
    with open(disk, 'wb') as f:
        f.truncate(MIB)
    extra = ('-drive', 'if=none,id=d,format=raw,file=' + disk,
             '-device', 'virtio-blk-pci,drive=d')
    guest, source = start_source(t, None, extra=extra)
    destination = start_destination(t, guest, source, None, 'defer',
                                    extra=extra + ('-S',))
    destination.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'late-block-activate', 'state': True}]})
    uri = migration_address('unix', t.dir)
    destination.run('migrate-incoming', {'uri': uri})
    set_parameters(source, max_bandwidth=10 << 30)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] == 'completed', 'migration %r', info)
    source.quit()
    destination.wait_status('paused')
    other = t.vm(guest, 'other', mem=64, extra=extra)
    try:
        destination.run('cont')
        raise Failure('two have the image')
    except QmpError as e:
        check('lock' in str(e), 'cont: %s', e)
    check(destination.status() == 'paused', 'it is %s', destination.status())
    other.quit()
    destination.run('cont')
    guest.wait_verified(alive=[destination])
    destination.quit()


def histories(vm):
    return [c['history'] for c in vm.run('query-vmemdirect-history',
                                         {'chunk': 0, 'count': MEM})]


def history_arrives_unchanged(t):
    """However long the stream takes: what has arrived does not age before
    the VM runs."""
    options = {'aging-interval': 100}
    guest, source = start_source(t, TIGHT, append={'rate': 0},
                                 options=options)
    guest.wait_progress(2, alive=[source])
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri,
                                    options=options)
    source.run('stop')
    time.sleep(1)  # chunks catch up with what was before
    before = histories(source)
    set_parameters(source, max_bandwidth=64 * MIB)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] == 'completed', '%r', info)
    check(info['total-time'] > 10 * options['aging-interval'],
          'it took %d ms only', info['total-time'])
    destination.wait_status('paused')
    after = histories(destination)
    warm = sum(int(h, 16) != 0 for h in before)
    check(warm > MEM // 4, 'only %d chunks have a history', warm)
    check(before == after, 'of %d chunks %d have changed', len(before),
          sum(a != b for a, b in zip(before, after)))
    source.quit()
    destination.run('cont')
    guest.wait_verified(alive=[destination])
    destination.quit()


def incoming_defer(t):
    guest, source = start_source(t, TIGHT)
    destination = start_destination(t, guest, source, TIGHT, 'defer')
    uri = migration_address('unix', t.dir)
    destination.run('migrate-incoming', {'uri': uri})
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def there_and_back(t):
    """Five moves in a chain, budgets up and down."""
    guest, source = start_source(t, ENOUGH, cpus=2)
    for number, budget in enumerate((TIGHT, 64, ENOUGH, None, TIGHT)):
        uri = migration_address('unix', t.dir, 'm%d' % number)
        destination = start_destination(t, guest, source, budget, uri,
                                        cpus=2, name='hop%d' % number)
        migrate(source, destination, uri)
        source.quit()
        source = destination
        guest.wait_verified(alive=[source])
    source.quit()


there_and_back.limit = 240


def cancel_then_migrate(t):
    """A cancelled migration leaves the source running; the next succeeds."""
    guest, source = start_source(t, TIGHT, cpus=2)
    for number, delay in enumerate((0.0, 0.1, 0.5)):
        uri = migration_address('tcp', t.dir)
        victim = start_destination(t, guest, source, TIGHT, uri, cpus=2,
                                   name='cancelled%d' % number)
        set_parameters(source, max_bandwidth=40 * MIB)
        source.run('migrate', {'uri': uri})
        time.sleep(delay)
        source.run('migrate_cancel')
        info = wait_migration(source, 20)
        check(info['status'] == 'cancelled', 'status %s', info['status'])
        check(source.status() == 'running', 'the source is %s',
              source.status())
        # Cancelled before the hello, the source was only a knock.
        gives_up(victim)
        guest.wait_progress(2, alive=[source])
    guest.wait_verified(alive=[source])
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri, cpus=2)
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def bandwidth_limit(t):
    """max-bandwidth bounds the rate."""
    guest, source = start_source(t, TIGHT, append={'rate': 2})
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    start = time.monotonic()
    info = migrate(source, destination, uri, max_bandwidth=64 * MIB)
    seconds = time.monotonic() - start
    rate = info['ram']['transferred'] / seconds
    check(rate < 1.3 * 64 * MIB, '%.0f MiB/s', rate / MIB)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def events(t):
    """MIGRATION events on both sides, when asked for; RESUME at the
    destination, STOP at the source."""
    guest, source = start_source(t, TIGHT)
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    for vm in (source, destination):
        vm.run('migrate-set-capabilities', {
            'capabilities': [{'capability': 'events', 'state': True}]})
    migrate(source, destination, uri)
    source.qmp.drain(0.3)
    destination.qmp.drain(0.3)
    for vm, other in ((source, 'STOP'), (destination, 'RESUME')):
        names = [e['event'] for e in vm.qmp.events]
        states = [e['data']['status'] for e in vm.qmp.events
                  if e['event'] == 'MIGRATION']
        check(other in names, '%s: events %s', vm.name, names)
        check(states and states[-1] == 'completed', '%s: %s', vm.name,
              states)
    source.quit()
    destination.quit()


def pause_before_switchover(t):
    """The client decides when the source gives the VM away; libvirt moves
    its locks meanwhile. Cancelled there, the source goes on."""
    guest, source = start_source(t, TIGHT)
    uri = migration_address('unix', t.dir)
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': c, 'state': True}
        for c in ('events', 'return-path', 'pause-before-switchover')]})
    set_parameters(source, max_bandwidth=10 << 30)
    victim = start_destination(t, guest, source, TIGHT, uri, name='victim')
    source.run('migrate', {'uri': uri})
    source.qmp.wait_event('STOP')
    wait_migration(source, statuses=['pre-switchover'])
    source.run('migrate_cancel')
    info = wait_migration(source)
    check(info['status'] == 'cancelled', '%r', info)
    gives_up(victim)
    guest.wait_progress(2, alive=[source])

    uri = migration_address('unix', t.dir, 'second')
    destination = start_destination(t, guest, source, TIGHT, uri)
    source.run('migrate', {'uri': uri})
    wait_migration(source, statuses=['pre-switchover'])
    check(source.status() == 'finish-migrate', 'it is %s', source.status())
    source.run('migrate-continue', {'state': 'pre-switchover'})
    info = wait_migration(source)
    check(info['status'] == 'completed', '%r', info)
    check(info['vmemdirect']['pause-us'] > 0, '%r', info)
    source.qmp.drain(0.2)
    passes = [e['data']['pass'] for e in source.qmp.events
              if e['event'] == 'MIGRATION_PASS']
    count = info['ram']['dirty-sync-count']
    check(passes[-count:] == list(range(1, count + 1)), '%r, %d', passes,
          count)
    guest.wait_verified(alive=[destination])
    source.quit()
    destination.quit()


def source_goes_on_by_cont(t):
    """After a completed migration whose destination is thrown away, cont
    makes the source run on, as with QEMU."""
    guest, source = start_source(t, TIGHT, append={'verify': 2})
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri,
                                    extra=['-S'])
    set_parameters(source, max_bandwidth=10 << 30)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] == 'completed', 'migration %r', info)
    destination.kill()
    source.run('cont')
    guest.wait_verified(alive=[source])
    source.quit()


TESTS = [(f.__name__, f) for f in (
    plain_to_plain, plain_to_plain_unix_2_cpus, enough_to_tight,
    tight_to_enough, tight_to_tight, tight_to_tighter_2_cpus, plain_to_tight,
    tight_to_plain, tight_to_tight_mode_copy, tight_to_tight_chunk_16,
    tight_to_tight_chunk_512, huge_pages_arrive, other_chunk_sizes,
    libaio, hot_everywhere, checksums,
    incompressible, no_paging_by_migration, cold_memory_from_swap,
    paused_stays_paused,
    history_arrives_unchanged, incoming_defer, there_and_back,
    cancel_then_migrate, bandwidth_limit, events, pause_before_switchover,
    written_chunks_go_to_ram, late_block_activate,
    source_goes_on_by_cont)]
