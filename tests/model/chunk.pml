/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunk protocol of vmemdirect/pager.c, for spin.
 *
 * Why: pages travel between four places while a vCPU and a device use them,
 * I/O is in flight in any order, and the guest gives pages up. Tests script
 * some of these races; this model has all of them, for one chunk of two pages.
 * Where the code has a heuristic (who leaves, how much is read, who finds no
 * memory), the model does anything.
 *
 * The transitions T1 to T22 are the ones that pager.c, history.c and the other
 * files name where they make them:
 *
 *   T1  zero fault                        T12 RESIDENT -> STANDBY (move-out)
 *   T2  STANDBY -> RESIDENT (recall)      T13 move-out undone
 *   T3  fault in WRITING: copied back     T14 STANDBY dropped without a write
 *   T4  landing started                   T15 STANDBY -> WRITING
 *   T5  -> FILLING, the rest of a window  T16 one write ends
 *   T6  SWAPPED -> FILLING, read ahead    T17 the last write has ended
 *   T7  touched while read ahead          T18 write-protect fault
 *   T8  a landing brings its page         T19 discard
 *   T9  a landing fails                   T20 retry, after an error was told
 *   T10 one read of a fill ends           T21 hole punched: begins, ends
 *   T11 FILLING ends                      T22 pin, unpin, who waits for pages
 *
 * Content. A place holds 0 (zeros), CUR (what was written last) or OLD
 * (anything else). A write makes every other CUR an OLD. That is as good as
 * version numbers, since the protocol does nothing with content but to copy
 * it, and to compare it with zero and with itself. A place whose content does
 * not count holds OLD, so that a wrong use of it shows.
 *
 * Threads. The pager is one thread; here it is several processes, of which one
 * acts at a time: what one has begun (BUSY), mover() ends.
 * Others run between its transitions, and inside of them where atomic ends:
 * between MOVE and WRITEPROTECT, and at each step of a move-out.
 *
 * What is checked: see check(), the assertions at the accesses, and, with
 * -DBOUNDED, that everybody is served when a run ends: the number of accesses,
 * errors and so on is bounded then, so that who sleeps for ever is a deadlock.
 * -DENDS_ONLY leaves that to find by itself who is owed a wake.
 *
 * -DM_name takes one guard away, see "mutants" in run: each must be found.
 */
#define CUR 1
#define OLD 2

#define ZERO     0
#define RESIDENT 1
#define STANDBY  2
#define WRITING  3
#define SWAPPED  4
#define FILLING  5
#define FAILED   6

/* --- the pager's data, see vmemdirect/pager-internal.h -------------------- */

byte state = ZERO;
bit present[2], stored[2];
bit valid[2];         /* the frame's slot holds the page */
bit ahead, recalled, failed;
bit land[2];          /* a landing is in flight; ... */
bit land_old[2];      /* ... it may bring what the page held before */
bit fill_todo[2], fill_flying[2];
bit writing[2];       /* to be written, or in flight */
bit write_error;
bit punching[2];
bit missing[2], protect[2]; /* faults that were read: batch and pending[] */
bit told;             /* an event told of a read error, no retry since */

/* Pins: the protocol of two atomics. One chunk, so one of each. */
byte pins;
bit leaving;

/* --- content -------------------------------------------------------------- */

bit mapped[2], prot[2];            /* the page table of the guest */
byte guest[2] = OLD, frame[2] = OLD, file[2] = OLD;
byte last[2] = 0;                  /* what a read has to return: 0 or CUR */

/* --- the others ----------------------------------------------------------- */

#define AWAKE     0
#define MISSING   1
#define PROTECTED 2
byte asleep = AWAKE;               /* the vCPU, in the kernel, and why */
bit asleep_on;                     /* on which page */

#define IDLE    0
#define PINNED  1                  /* counted; waits until nobody leaves */
#define LOOKS   2
#define WAITS   3                  /* for the pager */
#define HAS     4
#define FLIES   5                  /* I/O into or out of the page */
byte pin = IDLE;                   /* a device, of page 0 */
bit dma_write, dma;                /* dma: it still goes to the guest's page */

/* --- the pager at work ---------------------------------------------------- */

#define NOTHING  0
#define RECALL   1
#define LEAVE    2
#define UNDO     3
#define OUT_LOOK 4
#define OUT_ANY  5
#define OUT_0    6
#define OUT_1    7
#define OUT_END  8
byte moving;                       /* pages to be moved in, bit by page */
byte then = NOTHING;               /* what follows */
byte hash;                         /* of what was moved in, before; 0 if none */
byte window;                       /* page + 1 between MOVE and WRITEPROTECT */
#define BUSY (moving != 0 || window != 0 || then != NOTHING)
#define TURN (!BUSY)

#ifdef BOUNDED
byte accesses = ACCESSES, pinnings = 1, outs = 2, discards = 1, errors = 2,
     punches = 1, aheads = 1;
#define MAY(what) (what > 0)
#define USE(what) what--
#else
#define MAY(what) what
#define USE(what) skip
#define accesses 1
#define outs 1
#define discards DISCARDS
#define pinnings PINNINGS
#define errors ERRORS
#define punches PUNCHES
#define aheads AHEADS
#endif

#define ANY_PRESENT (present[0] || present[1])
#define ANY_STORED (stored[0] || stored[1])
#define ANY_VALID (valid[0] || valid[1])
#define VALID_MAP (valid[0] + 2 * valid[1])
#define LANDINGS (land[0] || land[1])
#define IN_FRAME(p) (valid[p] && (state == STANDBY || state == WRITING))
#define FILE_ONLY(p) (stored[p] && !present[p])
#define IS_ZERO(p) (!present[p] && !stored[p] && !IN_FRAME(p))
#define READING(p) (land[p] || (state == FILLING && \
                                (fill_todo[p] || fill_flying[p])))
#define WANTS_READ(p) (FILE_ONLY(p) && !IN_FRAME(p) && !READING(p))

/* Guards that a mutant lacks. */
#if defined M_PINS || defined M_PINS_FIRST
#define PINS_SEEN false
#else
#define PINS_SEEN (pins > 0)
#endif
#ifdef M_LANDING
#define MAY_LEAVE true
#else
#define MAY_LEAVE (!LANDINGS)      /* somebody waits for a page of it */
#endif
#ifdef M_PUNCH
#define HOLES_WAIT false
#else
#define HOLES_WAIT true
#endif
#ifdef M_LEAVING
#define NOBODY_LEAVES true
#else
#define NOBODY_LEAVES (!leaving)
#endif
#if defined M_VOID_WRITE
#define COUNTS(p) (!present[p])
#elif defined M_PRESENT_WRITE
#define COUNTS(p) IN_FRAME(p)
#else
#define COUNTS(p) (IN_FRAME(p) && !present[p]) /* (10) */
#endif
#if defined M_ERROR_PRESENT
#define STAYS_ON_ERROR failed
#elif defined M_ERROR_FAILED
#define STAYS_ON_ERROR ANY_PRESENT
#else
#define STAYS_ON_ERROR (ANY_PRESENT || failed)
#endif
#ifdef M_VOID_READ
#define WANTED(p) (!present[p])
#else
#define WANTED(p) FILE_ONLY(p)     /* invariant (10) */
#endif

/* --- small things --------------------------------------------------------- */

/* An event that was not read yet goes with who sleeps. */
inline wake(p)
{
    if
    :: asleep != AWAKE && asleep_on == p ->
        if
        :: asleep == MISSING -> missing[p] = 0
        :: asleep == PROTECTED -> protect[p] = 0
        :: true
        fi;
        asleep = AWAKE;
        asleep_on = 0
    :: else
    fi
}

inline unstore(p)
{
    stored[p] = 0;
    file[p] = OLD
}

inline forget(p)                   /* the frame's slot */
{
    valid[p] = 0;
    frame[p] = OLD
}

inline age(place)
{
    if
    :: place == CUR -> place = OLD
    :: else
    fi
}

/* Somebody writes zeros (z) or something new into the mapped page p. */
inline store(p, z)
{
    age(file[p]);
    age(frame[p]);
    if
    :: window == p + 1 -> age(hash)
    :: else
    fi;
    last[p] = (z -> 0 : CUR);
    guest[p] = last[p]
}

inline settle()
{
    if
    :: ANY_PRESENT -> state = RESIDENT
    :: else ->
        if
        :: ANY_STORED -> state = SWAPPED
        :: else -> state = ZERO
        fi
    fi
}

inline leave_frame()
{
    forget(0);
    forget(1);
    ahead = 0;
    if
    :: failed && (FILE_ONLY(0) || FILE_ONLY(1)) -> state = FAILED
    :: else -> settle()
    fi;
    failed = 0
}

/* --- what must be true after each transition ------------------------------ */

/* The content of p is in the first of its four places, (9). */
inline check_content(p)
{
    if
    :: present[p] -> assert(mapped[p] && guest[p] == last[p])
    :: !present[p] && IN_FRAME(p) ->
        assert(!mapped[p] && frame[p] == last[p])
    :: !present[p] && !IN_FRAME(p) && stored[p] ->
        assert(!mapped[p] && file[p] == last[p])
    :: else -> assert(!mapped[p] && last[p] == 0)
    fi
}

inline check_page(p)
{
    check_content(p);
    assert(!(present[p] && stored[p]) ||
           (prot[p] && file[p] == last[p]));                       /* (3) */
    assert(!(present[p] && IN_FRAME(p)) ||
           (state == WRITING && recalled && !stored[p]));          /* (5) */
    assert(!writing[p] || (state == WRITING && !punching[0] &&
                           !punching[1]));                         /* (7) */
}

/* Who sleeps, and whose event was read, is owed a wake by somebody. */
inline check_sleeper()
{
    assert(asleep == AWAKE ||
           (asleep == PROTECTED && protect[asleep_on]) ||
           (asleep == MISSING && missing[asleep_on]) ||
           (asleep == MISSING && FILE_ONLY(asleep_on) &&
            (land[asleep_on] ||
             (state == FILLING && fill_flying[asleep_on]))))
}

inline check()
{
    d_step {
        check_page(0);
        check_page(1);
#ifndef ENDS_ONLY
        check_sleeper();
#endif
        assert(state != ZERO || (!ANY_PRESENT && !ANY_STORED));        /* (2) */
        assert(state != SWAPPED || (!ANY_PRESENT && ANY_STORED));
        assert(state != STANDBY || (!ANY_PRESENT && ANY_VALID));
        assert(state != RESIDENT || ANY_PRESENT);
        assert(!failed || state == WRITING || state == FILLING);      /* (11) */
        assert(state != FAILED || told)                               /* (11) */
    }
}

/* --- the pager in the middle of a transition ------------------------------ */

inline finish()
{
    if
    :: then == RECALL -> state = RESIDENT; ahead = 0
    :: then == LEAVE -> leave_frame()
    :: then == UNDO -> leaving = 0
    :: else
    fi;
    then = NOTHING;
    check()
}

inline finish_if_moved()
{
    if
    :: moving == 0 -> finish()
    :: else
    fi
}

/* mem->in of one page: MOVE, and all if it needs no protection. */
inline move_in(p)
{
    assert(!mapped[p]);
    moving = moving & (2 - p);
    mapped[p] = 1;
    guest[p] = frame[p];
    forget(p);
    if
    :: stored[p] -> window = p + 1; hash = guest[p]
    :: else ->
        present[p] = 1;
        wake(p);
        finish_if_moved()
    fi
}

/* WRITEPROTECT, wake, the second hash; and what move_in_run() does then. */
inline protect_in(p)
{
    prot[p] = 1;
    present[p] = 1;
    wake(p);
#ifndef M_HASH
    if
    :: hash != guest[p] -> unstore(p)                              /* (3) */
    :: else
    fi;
#endif
    window = 0;
    hash = 0;
    finish_if_moved()
}

/* One page out, or (EBUSY) back out of it. */
inline move_out(p, next)
{
    if
    :: present[p] ->
        if
        :: true ->
            assert(!(dma && p == 0));                       /* (6) */
            present[p] = 0;
            mapped[p] = 0;
            prot[p] = 0;
            valid[p] = 1;
            frame[p] = guest[p];
            guest[p] = OLD;
            then = next
        :: MAY(outs) ->                                            /* T13 */
            USE(outs);
            moving = VALID_MAP;
            then = UNDO;
            finish_if_moved()
        fi
    :: else -> then = next
    fi
}

active proctype mover()
{
end:
    do
    :: atomic { window == 0 && (moving & 1) -> move_in(0) }
    :: atomic { window == 0 && (moving & 2) -> move_in(1) }
    :: atomic { window == 1 -> protect_in(0) }
    :: atomic { window == 2 -> protect_in(1) }
    :: atomic {
        then == OUT_LOOK ->
        if
        :: PINS_SEEN -> leaving = 0; then = NOTHING                /* (6) */
        :: else -> leaving = 1; then = OUT_ANY
        fi
       }
    :: atomic { then == OUT_ANY -> move_out(0, OUT_1) }
    :: atomic { then == OUT_ANY -> move_out(1, OUT_0) }
    :: atomic { then == OUT_0 -> move_out(0, OUT_END) }
    :: atomic { then == OUT_1 -> move_out(1, OUT_END) }
    :: atomic {
        then == OUT_END ->                                         /* T12 */
        state = STANDBY;
        leaving = 0;
        then = NOTHING;
        check()
       }
    od
}

/* --- transitions of one page ---------------------------------------------- */

inline zero_page(p)
{
    mapped[p] = 1;
    present[p] = 1;
    guest[p] = 0;
    wake(p)
}

inline zero_fault(p, q)                                            /* T1 */
{
    zero_page(p);
    missing[p] = 0;
    if
    :: IS_ZERO(q) -> zero_page(q)
    :: true
    fi;
    if
    :: state == ZERO || state == SWAPPED -> state = RESIDENT
    :: state == WRITING -> recalled = 1
    :: else
    fi
}

inline start_landing(p)
{
    land[p] = 1;
    land_old[p] = 0
}

/* read_few(), and start_fill() of what is left of a window. */
inline hard_fault(p, q)                                            /* T4 */
{
    start_landing(p);
    missing[p] = 0;
    if
    :: WANTS_READ(q) -> start_landing(q)
    :: WANTS_READ(q) && (state == SWAPPED || state == RESIDENT) -> /* T5 */
        state = FILLING;
        fill_todo[q] = 1
    :: true
    fi
}

inline fault_while_writing(p)                                      /* T3 */
{
    recalled = 1;
    if
    :: true                        /* no memory: it stays in pending[] */
    :: true ->
#ifndef M_COPY_STORED
        unstore(p);                                                /* (5) */
#endif
        mapped[p] = 1;
        present[p] = 1;
        guest[p] = frame[p];
        missing[p] = 0;
        wake(p)
    fi
}

inline landed(p)                                                   /* T8 */
{
    mapped[p] = 1;
    guest[p] = (land_old[p] -> OLD : file[p]);
    if
    :: unstore(p)                  /* a writer waits for it */
    :: prot[p] = 1
    fi;
    present[p] = 1;
    land[p] = 0;
    land_old[p] = 0;
    wake(p);
    if
    :: state == SWAPPED -> state = RESIDENT
    :: else
    fi
}

inline landing_failed(p)                                           /* T9 */
{
    USE(errors);
    land[p] = 0;
    land_old[p] = 0;
    wake(p);
    if
    :: true                        /* one of several: read again alone */
    :: true ->
        told = 1;
        if
        :: state == FILLING || state == WRITING -> failed = 1
        :: else -> state = FAILED
        fi
    fi
}

inline fill_read(p)                                                /* T10 */
{
    fill_flying[p] = 0;
    if
    :: !WANTED(p)                                                  /* (10) */
    :: WANTED(p) && ahead -> valid[p] = 1; frame[p] = file[p]
    :: WANTED(p) && !ahead -> frame[p] = file[p]; moving = 1 + p
    :: WANTED(p) && MAY(errors) -> USE(errors); wake(p)
    fi
}

inline written(p)                                                  /* T16 */
{
    writing[p] = 0;
    if
    :: true ->
        if
        :: COUNTS(p) -> stored[p] = 1; file[p] = frame[p]
        :: else
        fi
    :: MAY(errors) ->
        USE(errors);
        write_error = 1;
        file[p] = OLD;
#ifndef M_BRIDGE
        if
        :: IN_FRAME(p) -> unstore(p)
        :: else
        fi
#endif
    fi
}

inline write_protect_fault(p, q)                                   /* T18 */
{
    protect[p] = 0;
    unstore(p);
    prot[p] = 0;
    wake(p);
    if
    :: present[q] -> unstore(q); prot[q] = 0; wake(q)
    :: true
    fi
}

inline discard(p)                                                  /* T19 */
{
    USE(discards);
    age(frame[p]);
    last[p] = 0;
    unstore(p);
    present[p] = 0;
    mapped[p] = 0;
    prot[p] = 0;
    guest[p] = OLD;
    land_old[p] = land[p];
    if
    :: p == 0 -> dma = 0    /* its memory is nobody's now */
    :: else
    fi;
    if
    :: state == STANDBY || state == WRITING || ahead -> forget(p)
    :: else
    fi;
    if
    :: state == WRITING || state == FILLING
    :: state == STANDBY && ANY_VALID
    :: state == FAILED && (FILE_ONLY(0) || FILE_ONLY(1))
    :: state == STANDBY && !ANY_VALID -> leave_frame()
    :: else -> settle()
    fi;
#ifndef M_WAKE
    if
    :: state == FILLING || LANDINGS -> wake(0); wake(1)
    :: else
    fi
#endif
}

/* What the pager does about page p; q is the other one. */
proctype page(bit p, q)
{
end:
    do
    :: atomic {
        if
        /* vmd_pager_fault(), vmd_pager_serve_pending() */
        :: TURN && missing[p] && present[p] -> missing[p] = 0; wake(p)
        :: TURN && protect[p] && !present[p] -> protect[p] = 0; wake(p)
        :: TURN && protect[p] && present[p] -> write_protect_fault(p, q)
        :: TURN && missing[p] && !present[p] && state == STANDBY -> /* T2 */
            moving = VALID_MAP;
            then = RECALL
        :: TURN && missing[p] && state != STANDBY && IS_ZERO(p) ->
            zero_fault(p, q)
        :: TURN && missing[p] && !present[p] && state == WRITING &&
           IN_FRAME(p) ->
            fault_while_writing(p)
        :: TURN && missing[p] && FILE_ONLY(p) && !IN_FRAME(p) && land[p] ->
            missing[p] = 0
        :: TURN && missing[p] && FILE_ONLY(p) && state == FILLING &&
           ahead ->                                                /* T7 */
            ahead = 0;
            moving = VALID_MAP
        :: TURN && missing[p] && FILE_ONLY(p) && state == FILLING && !ahead &&
           fill_flying[p] ->
            missing[p] = 0
        :: TURN && missing[p] && FILE_ONLY(p) && state == FILLING &&
           fill_todo[p] &&
           !ahead ->
            fill_todo[p] = 0       /* sooner by itself */
        :: TURN && missing[p] && WANTS_READ(p) && state != STANDBY &&
           state != FAILED && !ahead ->
            hard_fault(p, q)
        /* pin_progress() */
        :: TURN && p == 0 && pin == WAITS && present[0] -> pin = HAS
        :: TURN && p == 0 && pin == WAITS && !present[0] &&
           state != FAILED && !missing[0] &&
           !(FILE_ONLY(0) && (land[0] ||
                              (state == FILLING && fill_flying[0]))) ->
            missing[0] = 1
        /* completions */
        :: TURN && land[p] && !WANTED(p) -> /* (10) */
            land[p] = 0;
            land_old[p] = 0
        :: TURN && land[p] && WANTED(p) && state == STANDBY ->
            moving = VALID_MAP;
            then = RECALL
        :: TURN && land[p] && WANTED(p) && state != STANDBY -> landed(p)
        :: TURN && land[p] && WANTED(p) && state != STANDBY && MAY(errors) ->
            landing_failed(p)
        :: TURN && fill_todo[p] -> fill_todo[p] = 0; fill_flying[p] = 1
        :: TURN && fill_flying[p] -> fill_read(p)
        :: TURN && writing[p] -> written(p)
        :: TURN && punching[p] -> /* T21 */
            punching[p] = 0;
            file[p] = (stored[p] -> 0 : OLD)
        :: TURN && MAY(punches) && !punching[0] && !punching[1] && !stored[p] &&
           !LANDINGS &&
           (state == ZERO || state == RESIDENT || state == SWAPPED) ->
            USE(punches);
            punching[p] = 1
        :: TURN && MAY(discards) -> discard(p)
        fi;
        if
        :: BUSY
        :: else -> check()
        fi
       }
    od
}

/* --- transitions of the whole chunk --------------------------------------- */

inline write_back()                                                /* T14 */
{
    if
    :: valid[0] && !stored[0] && frame[0] == 0 -> forget(0)
    :: else
    fi;
    if
    :: valid[1] && !stored[1] && frame[1] == 0 -> forget(1)
    :: else
    fi;
    if
    :: (valid[0] && !stored[0]) || (valid[1] && !stored[1]) ->
        if
        :: HOLES_WAIT && (punching[0] || punching[1])              /* (7) */
        :: else ->                                                 /* T15 */
            writing[0] = valid[0] && !stored[0];
            writing[1] = valid[1] && !stored[1];
            if
            :: true                /* to save a request: pages beside, too */
            :: writing[0] = valid[0]; writing[1] = valid[1]
            fi;
            recalled = 0;
            write_error = 0;
            state = WRITING
        fi
    :: else -> leave_frame()
    fi
}

inline forget_copied_back(p)
{
    if
    :: present[p] -> forget(p)
    :: else
    fi
}

inline write_finished()                                            /* T17 */
{
    forget_copied_back(0);
    forget_copied_back(1);
    if
    :: recalled || (write_error && STAYS_ON_ERROR) ->
        moving = VALID_MAP;
        then = LEAVE
    :: !(write_error && STAYS_ON_ERROR) -> /* on the way to less memory */
        if
        :: write_error && ANY_VALID -> state = STANDBY             /* (9) */
        :: else -> leave_frame()
        fi
    fi;
    recalled = 0;
    write_error = 0
}

inline fill_finished()                                             /* T11 */
{
    if
    :: ahead && !failed && ANY_VALID && !ANY_PRESENT -> state = STANDBY
    :: else ->
        moving = (ahead -> VALID_MAP : 0);
        ahead = 0;
        then = LEAVE
    fi
}

active proctype chunk()
{
    atomic { run page(0, 1); run page(1, 0) }
end:
    do
    :: atomic {
        if
        :: TURN && state == RESIDENT && MAY_LEAVE && MAY(outs) -> /* T12 */
            USE(outs);
#ifdef M_PINS_FIRST
            if
            :: pins > 0
            :: else -> then = OUT_LOOK
            fi
#else
            leaving = 1;
            then = OUT_LOOK
#endif
        :: TURN && state == STANDBY -> write_back()
        :: TURN && state == WRITING && !writing[0] && !writing[1] ->
            write_finished()
        :: TURN && state == SWAPPED && !LANDINGS && MAY(aheads) -> /* T6 */
            USE(aheads);
            fill_todo[0] = stored[0];
            fill_todo[1] = stored[1];
            ahead = 1;
            state = FILLING
        /* read_strided() */
        :: TURN && (state == SWAPPED || state == RESIDENT) &&
           WANTS_READ(0) ->
            start_landing(0)
        :: TURN && (state == SWAPPED || state == RESIDENT) &&
           WANTS_READ(1) ->
            start_landing(1)
        :: TURN && state == FILLING && !fill_todo[0] && !fill_todo[1] &&
           !fill_flying[0] && !fill_flying[1] ->
            fill_finished()
        :: TURN && told -> /* T20 */
            told = 0;
#ifndef M_RETRY
            failed = 0;
#endif
            if
            :: state == FAILED -> settle()
            :: else
            fi
        fi;
        if
        :: !BUSY -> check()
        :: BUSY && moving == 0 && then == LEAVE -> finish()
        :: else
        fi
       }
    od
}

/* --- who uses the memory -------------------------------------------------- */

inline sleep(p, why)
{
    asleep = why;
    asleep_on = p;
    if
    :: why == MISSING -> missing[p] = 1
    :: else -> protect[p] = 1
    fi
}

/* One access by a vCPU. */
inline access(p)
{
    if
    :: !mapped[p] -> sleep(p, MISSING)
    :: mapped[p] -> assert(guest[p] == last[p])
    :: mapped[p] && !prot[p] -> store(p, 0)
    :: mapped[p] && !prot[p] -> store(p, 1)
    :: mapped[p] && prot[p] -> sleep(p, PROTECTED)
    fi
}

active proctype vcpu()
{
end:
    do
    :: atomic { MAY(accesses) -> USE(accesses); access(0) }
       asleep == AWAKE
    :: atomic { MAY(accesses) -> USE(accesses); access(1) }
       asleep == AWAKE
    od
}

/*
 * The device pins page 0 and has the kernel read or write it, as for O_DIRECT:
 * once the I/O has begun, it goes to the page whatever the mapping says.
 */
active proctype device()                                           /* T22 */
{
end:
    atomic { MAY(pinnings) -> USE(pinnings); pins = 1; pin = PINNED }
    atomic { NOBODY_LEAVES -> pin = LOOKS }
    atomic { pin = (present[0] -> HAS : WAITS) }
    do
    :: atomic { pin == HAS && !mapped[0] -> pin = FLIES }  /* discarded */
    :: atomic { pin == HAS && mapped[0] -> dma = 1; pin = FLIES }
    :: atomic { pin == HAS && mapped[0] && !prot[0] ->
                dma = 1; dma_write = 1; pin = FLIES }
    :: atomic { pin == HAS && mapped[0] && prot[0] && !protect[0] ->
                protect[0] = 1 }
    :: atomic {
        pin == FLIES ->
        if
        :: dma && dma_write -> store(0, 0)
        :: dma && !dma_write -> assert(guest[0] == last[0])
        :: !dma
        fi;
        dma = 0;
        dma_write = 0;
        pins = 0;
        pin = IDLE;
        goto end
       }
    od
}
