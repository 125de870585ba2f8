# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeded random life of a VM: budgets, stops, migrations in all directions,
cancels and kills, under a guest that writes and verifies all the time.

All choices come from one generator, so a seed repeats the order of events
(not their timing).
"""
import collections
import random
import time

from vmtest import (MIB, check, gives_up, migration_address, set_parameters,
                    wait_migration)

MEM = 192
WORK = {'mib': 160, 'rate': 60, 'verify': 2, 'fill': 'zero-part'}
BUDGETS = (64, 80, 96, 128, 160, 256, None)
CHUNKS = (16, 64, 256, 512)


class Stress:
    def __init__(self, test, seed, seconds, say=lambda text: None):
        self.t = test
        self.seed = seed
        self.seconds = seconds
        self.say = say
        self.random = random.Random(seed)
        self.counts = collections.Counter()
        self.guest = test.guest()
        self.cpus = self.random.choice((1, 2))
        self.number = 0
        self.paged_in = self.paged_out = 0
        self.vm = None

    def start(self, incoming=None):
        """A VM with random options."""
        r = self.random
        budget = r.choice(BUDGETS)
        options = {}
        if budget is not None:
            options['vmemdirect'] = {
                'memory': budget, 'chunk-pages': r.choice(CHUNKS),
                'mode': r.choice(('move', 'move', 'move', 'copy')),
                'io': r.choice(('io_uring', 'io_uring', 'libaio')),
                'checksum': r.choice(('off', 'off', 'on')),
                'encrypt': r.choice(('off', 'off', 'on'))}
        work = dict(WORK, hot=r.choice((32, 64, 160)),
                    pattern=r.choice(('random', 'zipf', 'seq')),
                    seed=self.seed)
        self.number += 1
        name = 'vm%d' % self.number
        self.say('%s: %s' % (name, options.get('vmemdirect', 'plain')))
        return self.t.vm(self.guest, name, mem=MEM, smp=self.cpus,
                         append=work, incoming=incoming, **options)

    def retire(self, vm):
        if vm.budget_mib is not None and vm.process.poll() is None:
            p = vm.paging()
            self.paged_in += p['page-in-bytes']
            self.paged_out += p['page-out-bytes']
        vm.quit()
        self.forget(vm)

    def forget(self, vm):
        """Half an hour has hundreds of processes: nothing of the finished
        ones is kept open."""
        vm.close()
        self.t.vms.remove(vm)

    # what can happen

    def do_budget(self):
        if self.vm.budget_mib is None:
            return
        budget = self.random.randrange(60, 230)
        grows = budget > self.vm.budget_mib
        self.say('budget %d MiB' % budget)
        self.vm.set_budget(budget)
        time.sleep(self.random.uniform(0, 1))
        if not grows:
            deadline = time.monotonic() + 30
            while True:
                p = self.vm.paging()
                if p['resident-bytes'] + p['frames-bytes'] <= budget * MIB:
                    break
                check(time.monotonic() < deadline,
                      'budget %d MiB is not reached: %r', budget,
                      self.vm.brief())
                time.sleep(0.05)
            self.vm.rss_peak_reset()
        self.counts['budget changes'] += 1

    def do_budget_storm(self):
        if self.vm.budget_mib is None:
            return
        for _ in range(10):
            self.vm.set_budget(self.random.randrange(60, 230))
            time.sleep(self.random.uniform(0, 0.1))
        self.counts['budget changes'] += 10

    def do_stop(self):
        self.say('stop, cont')
        for _ in range(self.random.randrange(1, 4)):
            self.vm.run('stop')
            time.sleep(self.random.uniform(0, 0.3))
            self.vm.run('cont')
            time.sleep(self.random.uniform(0, 0.2))
        self.counts['stops'] += 1

    def begin_migration(self):
        uri = migration_address(self.random.choice(('tcp', 'unix')),
                                self.t.dir, 'm%d' % (self.number + 1))
        destination = self.start(incoming=uri)
        limit = self.random.choice((30 * MIB, 100 * MIB, 10 << 30))
        set_parameters(self.vm, max_bandwidth=limit,
                       downtime_limit=self.random.choice((50, 300, 1000)),
                       cpu_throttle_initial=self.random.choice((20, 95)),
                       throttle_trigger_threshold=5)
        self.vm.run('migrate-set-capabilities', {'capabilities': [
            {'capability': name, 'state': self.random.random() < 0.5}
            for name in ('auto-converge', 'checksum')]})
        self.vm.run('migrate', {'uri': uri})
        return destination

    def do_migrate(self):
        destination = self.begin_migration()
        for _ in range(self.random.randrange(3)):
            time.sleep(self.random.uniform(0, 0.5))
            if self.random.random() < 0.5 and self.vm.budget_mib:
                self.vm.set_budget(self.random.randrange(60, 230))
        # A limit below the rate of writing would never end.
        time.sleep(self.random.uniform(0, 3))
        if self.vm.status() == 'running':
            set_parameters(self.vm, max_bandwidth=10 << 30)
        info = wait_migration(self.vm, 120)
        check(info['status'] == 'completed', 'migration: %r; %s; %s', info,
              self.vm.stderr(), destination.stderr())
        destination.wait_status('running')
        self.retire(self.vm)
        self.vm = destination
        self.counts['migrations'] += 1

    def do_cancel(self):
        victim = self.begin_migration()
        time.sleep(self.random.uniform(0, 1.5))
        self.vm.run('migrate_cancel')
        info = wait_migration(self.vm, 60)
        self.say('cancel: ' + info['status'])
        if info['status'] == 'completed':
            victim.wait_status('running')
            self.retire(self.vm)
            self.vm = victim
            self.counts['migrations'] += 1
            return
        check(info['status'] == 'cancelled', 'cancel: %r', info)
        gives_up(victim)
        self.forget(victim)
        self.counts['cancels'] += 1

    def do_kill_destination(self):
        victim = self.begin_migration()
        time.sleep(self.random.uniform(0, 1))
        if self.vm.run('query-migrate')['status'] in ('device', 'completed'):
            info = wait_migration(self.vm, 60)
        else:
            # Killed inside the hand-over, the guest may be in the victim:
            # then nothing is left to check. Kill only while it is active.
            set_parameters(self.vm, max_bandwidth=MIB)
            if self.vm.run('query-migrate')['status'] in ('setup', 'active'):
                victim.kill()
            info = wait_migration(self.vm, 60)
        if info['status'] == 'completed':
            victim.wait_status('running')
            self.retire(self.vm)
            self.vm = victim
            self.counts['migrations'] += 1
            return
        check(info['status'] == 'failed', 'after a kill: %r', info)
        self.vm.wait_status('running')
        self.forget(victim)
        self.counts['kills'] += 1

    def do_run(self):
        time.sleep(self.random.uniform(0.2, 2))

    def check_alive_and_right(self):
        self.vm.check_alive()
        self.guest.wait_progress(2, alive=[self.vm], timeout=60)
        self.guest.check_right()
        if self.vm.budget_mib is not None:
            p = self.vm.paging()
            check(p['read-errors'] == 0 and p['write-errors'] == 0,
                  'I/O errors: %r', self.vm.brief())

    def run(self):
        self.vm = self.start()
        self.guest.wait_filled(alive=[self.vm], timeout=120)
        actions = ([self.do_budget] * 4 + [self.do_budget_storm] +
                   [self.do_stop] * 2 + [self.do_migrate] * 4 +
                   [self.do_cancel] + [self.do_kill_destination] +
                   [self.do_run] * 2)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.random.choice(actions)()
            self.check_alive_and_right()
        self.guest.wait_verified(alive=[self.vm])
        self.retire(self.vm)
        return self.summary()

    def summary(self):
        passes = sum(text.startswith('V ok') for _, _, text in
                     self.guest.lines)
        points = self.guest.progress()
        return ('seed %d, %d s, %d vCPU: %d verifications '
                'right, %d pages written; %s; paged in %d MiB, out %d MiB'
                % (self.seed, self.seconds, self.cpus,
                   passes, points[-1][3] if points else 0,
                   ', '.join('%d %s' % (n, what) for what, n in
                             sorted(self.counts.items())),
                   self.paged_in >> 20, self.paged_out >> 20))
