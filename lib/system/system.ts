/** The ports as a real process has them. */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import timers from 'node:timers';
import type { Calendar } from '../ports/calendar.js';
import { MAX_TIMER_MS, type Clock, type Timer } from '../ports/clock.js';
import type { ProcessSignals } from '../ports/process-signals.js';
import type { Random } from '../ports/random.js';

// Kept from the start: whoever puts fake timers into a test's globals means the timers of the code under test. With
// those a call would wait for ever, and an hour that is let pass would end every connection.
const { setTimeout, clearTimeout } = timers;
const nextTick = process.nextTick.bind(process);

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms: number, run: () => void, keepAlive = false): Timer {
    const timeout = setTimeout(run, Math.min(Math.max(ms, 0), MAX_TIMER_MS));
    if (!keepAlive) timeout.unref();
    return { cancel: () => clearTimeout(timeout) };
  },
  soon: (run) => nextTick(run),
};

export const systemRandom: Random = {
  bytes: (length) => randomBytes(length),
  fraction: () => Math.random(),
};

/** For the validity of certificates, which no monotonic clock can judge. */
export const systemCalendar: Calendar = () => new Date();

export const systemSignals: ProcessSignals = {
  on(signal, run) {
    process.on(signal, run);
    return { close: () => void process.off(signal, run) };
  },
};
