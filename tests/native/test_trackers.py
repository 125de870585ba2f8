# SPDX-License-Identifier: GPL-2.0-or-later
"""Access sources: a guest whose hot set is known, and who finds it.

The guest writes at random in the first `hot` MiB of its memory, all of which
it has filled before. Truth is by chunk: those that hold hot pages, their
versions or the guest itself. The test reads the history of every chunk and
compares: precision, the share of what is held for hot that is; recall, the
share of what is hot that is held for it.
"""
import errno
import os
import struct
import subprocess
import time

from vmtest import PATIENCE, Skip, check, guest_image, need

CHUNK = 1 << 20
# Accessed in one of the last three intervals that are known.
HOT_KEY = 0x20


def image_end():
    """Where the guest's own memory ends: the highest segment of its ELF."""
    with open(guest_image(), 'rb') as f:
        data = f.read()
    offset, = struct.unpack_from('<Q', data, 32)
    size, count = struct.unpack_from('<HH', data, 54)
    ends = []
    for i in range(count):
        kind, _, _, _, paddr, _, memsz = struct.unpack_from(
            '<IIQQQQQ', data, offset + i * size)
        if kind == 1:
            ends.append(paddr + memsz)
    return max(ends)


class Sizes:
    """Of a guest: RAM, what it fills, and how much of that is hot (MiB)."""

    def __init__(self, mem, mib, hot):
        self.mem, self.mib, self.hot = mem, mib, hot

    def chunks(self):
        """(chunks that are hot, chunks that are cold), by number."""
        first = (image_end() + 0x1fffff) & ~0x1fffff
        pages = first + self.mib * 256 * 8  # behind the table of versions
        hot = set(range(pages // CHUNK, (pages + self.hot * CHUNK - 1) //
                        CHUNK + 1))
        # The versions of hot pages; the rest of the table is cold.
        hot |= set(range(first // CHUNK,
                         (first + self.hot * 256 * 8 - 1) // CHUNK + 1))
        end = (pages + self.mib * CHUNK) // CHUNK
        return hot, set(range(first // CHUNK, end)) - hot


USUAL = Sizes(160, 128, 32)
SMALL = Sizes(64, 40, 8)  # for a tracker that is slow in the lab


def score(vm, sizes):
    """(precision, recall) of the keys at this moment."""
    hot, cold = sizes.chunks()
    chunks = vm.run('query-vmemdirect-history',
                    {'chunk': 0, 'count': sizes.mem})
    said = {c['chunk'] for c in chunks if c['key'] >= HOT_KEY}
    right = len(said & hot)
    wrong = len(said & cold)
    return right / max(1, right + wrong), right / len(hot)


def start(t, tracker, sizes=USUAL, **kw):
    need()
    options = {'memory': 2 * sizes.mem, 'tracker': tracker,
               'chunk-pages': CHUNK // 4096, 'aging-interval': 250}
    options.update(kw)
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=sizes.mem, vmemdirect=options,
              append={'mib': sizes.mib, 'hot': sizes.hot, 'rate': 100})
    guest.wait_filled(alive=[vm], timeout=90)
    return guest, vm


def finds_hot(t, tracker, seconds, precision, recall, sizes=USUAL):
    guest, vm = start(t, tracker, sizes)
    running = vm.paging()['tracker']
    check(running == tracker, 'tracker is %s, not %s', running, tracker)
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        time.sleep(1)
        now = score(vm, sizes)
        if now[0] >= precision and now[1] >= recall:
            break
        check(time.monotonic() < deadline, 'precision %.2f (least %.2f), '
              'recall %.2f (least %.2f) after %d s: %r', now[0], precision,
              now[1], recall, seconds * PATIENCE, vm.brief())
    # And it stays so: three more looks, a second apart.
    looks = [now]
    for _ in range(3):
        time.sleep(1)
        looks.append(score(vm, sizes))
    p = vm.paging()
    t.note('%s: precision %s, recall %s; round %d ms, cost %d ms', tracker,
           ' '.join('%.2f' % x[0] for x in looks),
           ' '.join('%.2f' % x[1] for x in looks),
           p['tracker-round-ns'] // 1000000, p['tracker-spent-ns'] // 1000000)
    worst = min(x[0] for x in looks), min(x[1] for x in looks)
    check(worst[0] >= precision - 0.1 and worst[1] >= recall - 0.1,
          'it does not stay so: %r', looks)
    guest.wait_progress(2, alive=[vm])
    vm.quit()


def soft_finds_hot(t):
    finds_hot(t, 'soft', 90, 0.9, 0.9)


def need_lab(path, what):
    """The kernel's trackers are tried in a host of the lab's only: there is
    one DAMON for a whole machine, and somebody may use it."""
    if os.environ.get('VMTEST_LAB') != '1':
        raise Skip('only in the lab (tests/lab/run trackers)')
    if not os.path.exists(path):
        raise Skip('this kernel has no %s' % what)


KDAMONDS = '/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds'


def kdamonds():
    with open(KDAMONDS) as f:
        return int(f.read())


def leave_none():
    """What a VM that was killed has left; only in the lab."""
    with open(KDAMONDS, 'w') as f:
        f.write('0')


def turn_off():
    for _ in range(1000):
        try:
            with open(os.path.dirname(KDAMONDS) + '/0/state', 'w') as f:
                f.write('off')
            return
        except OSError as e:
            if e.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
    check(False, 'DAMON stays busy')


def damon_finds_hot(t):
    """Regions are coarser than pages, so the bounds are lower."""
    need_lab(KDAMONDS, 'DAMON')
    t.cleanup(leave_none)
    finds_hot(t, 'damon', 60, 0.8, 0.9)
    check(kdamonds() == 0, 'nr_kdamonds is %d at the end', kdamonds())


def idle_finds_hot(t):
    need_lab('/sys/kernel/mm/page_idle/bitmap', 'idle page tracking')
    finds_hot(t, 'idle', 120, 0.95, 0.95, SMALL)


idle_finds_hot.limit = 200


def damon_is_for_one(t):
    """A second VM takes soft faults; what it says names the reason. A DAMON
    that goes away under the first is survived."""
    need_lab(KDAMONDS, 'DAMON')
    t.cleanup(leave_none)
    guest, vm = start(t, 'damon')
    other = t.guest('other')
    second = t.vm(other, 'second', mem=64, vmemdirect={
        'memory': 64, 'tracker': 'auto'}, append={'mib': 16, 'rate': 1})
    other.wait_filled(alive=[second], timeout=90)
    p = second.paging()
    check(p['tracker'] == 'soft' and 'in use' in
          p['trackers-not-used']['damon'], 'second VM: %s, %r', p['tracker'],
          p['trackers-not-used'])
    second.quit()
    check(kdamonds() == 1, 'the second VM took the first one\'s kdamond')
    turn_off()
    deadline = time.monotonic() + 20 * PATIENCE
    while vm.paging()['tracker'] != 'soft':
        check(time.monotonic() < deadline, 'still %s', vm.paging()['tracker'])
        time.sleep(0.2)
    p = vm.paging()
    check('failed' in p['trackers-not-used']['damon'], '%r',
          p['trackers-not-used'])
    guest.wait_progress(2, alive=[vm])
    vm.quit()
    check(kdamonds() == 0, 'nr_kdamonds is %d at the end', kdamonds())


def damon_after_a_kill(t):
    """What a VM leaves that is killed does not keep the next one from it."""
    need_lab(KDAMONDS, 'DAMON')
    t.cleanup(leave_none)
    _, vm = start(t, 'damon', SMALL)
    vm.kill()
    check(kdamonds() == 1, 'nr_kdamonds is %d after a kill', kdamonds())
    state = os.path.dirname(KDAMONDS) + '/0/state'
    deadline = time.monotonic() + 30 * PATIENCE
    while True:
        with open(state) as f:
            if f.read().strip() == 'off':
                break
        check(time.monotonic() < deadline, 'kdamond goes on without its VM')
        time.sleep(0.2)
    guest = t.guest('next')
    vm = t.vm(guest, 'next', mem=64, vmemdirect={
        'memory': 64, 'tracker': 'damon'}, append={'mib': 16, 'rate': 1})
    guest.wait_filled(alive=[vm], timeout=90)
    check(vm.paging()['tracker'] == 'damon', 'tracker is %s',
          vm.paging()['tracker'])
    vm.quit()
    check(kdamonds() == 0, 'nr_kdamonds is %d at the end', kdamonds())


def off_knows_nothing(t):
    """The same score must fail where nobody looks: the test can."""
    guest, vm = start(t, 'off')
    time.sleep(4)
    precision, _ = score(vm, USUAL)
    check(precision < 0.5, 'precision %.2f without a tracker', precision)
    p = vm.paging()
    check(p['tracker'] == 'off' and p['faults-soft'] == 0,
          'tracker=off tracks: %r', vm.brief())
    guest.wait_progress(2, alive=[vm])
    vm.quit()


def choice_is_explained(t):
    """auto says why the better ones do not run; a named one that cannot work
    is refused with the same reason."""
    if os.environ.get('VMTEST_LAB') != '1' and os.path.exists(KDAMONDS) and \
            kdamonds() == 0:
        raise Skip('this would take the DAMON of this machine')
    guest, vm = start(t, 'auto')
    p = vm.paging()
    why = p['trackers-not-used']
    order = ['rwp', 'idle', 'damon', 'soft']
    check(p['tracker'] in order, 'tracker is %s', p['tracker'])
    better = order[:order.index(p['tracker'])]
    check(sorted(why) == sorted(better), 'runs %s, explains %r',
          p['tracker'], why)
    t.note('%s runs; %s', p['tracker'],
           '; '.join('%s: %s' % kv for kv in sorted(why.items())))
    guest.wait_progress(2, alive=[vm])
    command = list(vm.args)
    vm.quit()
    at = command.index('-vmemdirect') + 1
    for name in better:
        command[at] = command[at].replace('tracker=auto', 'tracker=' + name)
        r = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=20,
                           capture_output=True, check=False)
        text = r.stderr.decode()
        check(r.returncode == 1 and 'tracker=' + name in text and
              why[name] in text, '%s: status %d, %r', name, r.returncode,
              text)
        command[at] = command[at].replace('tracker=' + name, 'tracker=auto')


TESTS = [(f.__name__, f) for f in (
    soft_finds_hot, off_knows_nothing, choice_is_explained, damon_finds_hot,
    damon_is_for_one, damon_after_a_kill, idle_finds_hot)]
