/** One way to one node: at most one session, one dial at a time, and a queue for those who wait for it. */
import type { Location } from '../discovery/discovery.js';
import type { Timer } from '../ports/clock.js';
import { GenRpcError } from '../protocol/errors.js';
import type { Invocation } from '../protocol/invocation.js';
import { Backoff } from '../ports/backoff.js';
import type { Dialled } from './dialer.js';
import type { LaneEvents, LanePorts } from './lane-ports.js';
import type { PendingCall } from './pending-calls.js';
import { QueuedCast, type CastOutcome } from './queued-cast.js';
import { isReplaced } from './replaced.js';
import { Session, type SessionEvents } from './session.js';
import { nodeDown, noteLoss, withNextAttempt } from './unreachable.js';
import { WaitingLine, type Waiter } from './waiting-line.js';

type Open = { name: 'open'; session: Session; since: number; location: Location };

type State =
  | { name: 'idle' }
  | { name: 'dialling'; attempt: AbortController }
  | Open
  | { name: 'waiting'; until: number; error: GenRpcError; timer: Timer | undefined }
  | { name: 'closed'; reason: GenRpcError };

/** How often a call that was not started is sent again. */
const MAX_RESENT = 3;

/** A connection that lived this long, or answered, was a good one: the next failure starts from the shortest wait. */
const STABLE_AFTER_MS = 5000;

export class Lane implements SessionEvents {
  private state: State = { name: 'idle' };
  private readonly queue = new WaitingLine();
  private queuedCasts = 0;
  /** There is a connection, and some who waited for it have their turn before what is asked for now. */
  private flushing = false;
  private readonly drainingSessions = new Set<Session>();
  private readonly backoff: Backoff;
  /** Ordered casts that were accepted. */
  private sequence = 0;
  /** When it was last asked for, as its dispatcher counts. */
  usedAt = 0;

  /** @param number tells the lanes of this process apart. */
  constructor(
    readonly node: string,
    readonly name: string,
    private readonly number: number,
    private readonly ports: LanePorts,
    private readonly events: LaneEvents,
  ) {
    this.backoff = new Backoff(ports.backoff, ports.random);
  }

  get location(): Location | undefined {
    return this.state.name === 'open' ? this.state.location : undefined;
  }

  /** Are there numbers of ordered casts that would be lost with it? */
  get isOrdered(): boolean {
    return this.sequence > 0;
  }

  /** Does nobody wait for it? */
  get isIdle(): boolean {
    return this.state.name !== 'dialling' && this.queue.length === 0 && this.pendingCalls === 0;
  }

  /** Those that gave up while they waited for a connection are none. */
  get pendingCalls(): number {
    return this.sessions.reduce((pending, session) => pending + session.pendingCalls, this.queue.pending);
  }

  /** Sends the call now or once there is a connection. `waitForReady`: also across failed attempts, until its deadline. */
  call(call: PendingCall, waitForReady = false): void {
    call.waitForReady = waitForReady;
    if (this.session === undefined) this.enqueue(call, waitForReady);
    else this.session.call(call, call.timeoutMs);
  }

  /** @throws GenRpcError when the cast is not accepted; `outcome` then hears nothing. */
  cast(invocation: Invocation, outcome?: CastOutcome): void {
    const { session } = this;
    const order = invocation.ordered === true ? { lane: this.number, sequence: (this.sequence + 1) >>> 0 } : undefined;
    if (session !== undefined) session.cast(invocation, order);
    else this.enqueueCast(new QueuedCast(this.node, invocation, order, outcome, this.ports.journal));
    if (order !== undefined) this.sequence = order.sequence;
    if (session !== undefined) outcome?.written();
  }

  /** Resolves once there is a connection; rejects when the attempt under way, or the next one, fails. Whoever gave up is nobody. */
  connect(gaveUp?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { settled: false, ready: () => resolve(), fail: reject };
      gaveUp?.addEventListener('abort', () => (waiter.settled = true));
      if (this.state.name === 'open') resolve();
      else this.enqueue(waiter, false);
    });
  }

  /** The last attempt failed, and the next one is still to wait for. */
  get isDown(): boolean {
    return this.refusal(false) !== undefined;
  }

  /**
   * Discovery tells where the node is now: a connection that leads elsewhere finishes what it has begun, and takes no
   * more; one that is waited for, or being made, is made anew at once.
   */
  relocate(leadsThere: (location: Location) => boolean): void {
    const { state } = this;
    if (state.name === 'open' && !leadsThere(state.location)) state.session.retire();
    if (state.name === 'waiting') state.timer?.cancel();
    else if (state.name === 'dialling') state.attempt.abort();
    else return;
    this.backoff.reset();
    this.state = { name: 'idle' };
    if (this.queue.length > 0) this.dial();
  }

  /** Lets pending calls finish, those that still wait for a connection too, then closes. Resolves whether all have. */
  async drain(): Promise<boolean> {
    let reached = true;
    const reach = (): Promise<boolean> =>
      this.connect().then(
        () => true,
        () => false,
      );
    // What a peer that drains too has not started comes back, and goes to the next session.
    do {
      if (this.queue.length > 0) reached = await reach();
      await Promise.all(this.sessions.map((session) => session.drain()));
    } while (reached && this.pendingCalls > 0);
    return this.pendingCalls === 0;
  }

  /** Ends now: everyone who waits is told `reason`. Resolves once the connections are gone. Safe to repeat. */
  async close(reason: GenRpcError): Promise<void> {
    const sessions = this.end(reason);
    await Promise.all(sessions.map((session) => session.close(reason)));
  }

  /** Ends now, without a last word to the peer. */
  abort(reason: GenRpcError): void {
    for (const session of this.end(reason)) session.abort(reason);
  }

  draining(session: Session): void {
    if (this.state.name !== 'open' || this.state.session !== session) return;
    this.drainingSessions.add(session);
    this.leave(this.state, new GenRpcError('refused', 'It is shutting down.'));
  }

  retired(session: Session): void {
    if (this.state.name !== 'open' || this.state.session !== session) return;
    this.drainingSessions.add(session);
    // With some who waited for it and had no turn it is a failed attempt: else they would dial again without end.
    this.leave(this.state, new GenRpcError('refused', 'It closes connections at once.'), this.queue.length === 0);
  }

  notStarted(call: PendingCall, refusal: GenRpcError): void {
    call.resent += 1;
    const { waitForReady } = call;
    if (call.resent > MAX_RESENT || this.refusal(waitForReady) !== undefined) call.fail(refusal);
    else if (this.session === undefined) this.enqueue(call, waitForReady);
    else call.ready(this.session, this.ports.clock.now());
  }

  ended(session: Session, reason: GenRpcError): void {
    if (this.drainingSessions.delete(session)) return this.forgetIfUnused();
    if (this.state.name === 'closed') return;
    if (!session.draining) noteLoss(this.ports.journal, this.node, reason);
    if (this.state.name === 'open') this.leave(this.state, reason);
  }

  /** The numbers of ordered casts must outlive their connections; nothing else of an idle lane is worth keeping. */
  private forgetIfUnused(): void {
    const idle = this.state.name === 'idle' && this.drainingSessions.size === 0 && this.queue.length === 0;
    if (idle && !this.isOrdered) this.events.unused(this);
  }

  /** The session takes no more calls. One that answered nothing and did not last is a failed attempt; so is one replaced. */
  private leave({ session, since }: Open, reason: GenRpcError, unmissed = false): void {
    const isGood = session.proven || this.ports.clock.now() - since >= STABLE_AFTER_MS;
    if (unmissed || (isGood && !isReplaced(reason))) {
      this.backoff.reset();
      this.state = { name: 'idle' };
    } else {
      this.wait(nodeDown(this.node, reason), this.backoff.next());
    }
    this.events.status(this, false);
  }

  private get session(): Session | undefined {
    return this.state.name === 'open' && !this.flushing ? this.state.session : undefined;
  }

  private get sessions(): Session[] {
    return this.state.name === 'open' ? [this.state.session, ...this.drainingSessions] : [...this.drainingSessions];
  }

  private end(reason: GenRpcError): Session[] {
    const { state, sessions } = this;
    if (state.name === 'closed') return sessions;
    this.state = { name: 'closed', reason };
    if (state.name === 'open') this.drainingSessions.add(state.session);
    if (state.name === 'dialling') state.attempt.abort();
    if (state.name === 'waiting') state.timer?.cancel();
    if (state.name === 'open') this.events.status(this, false);
    this.queuedCasts = 0;
    this.queue.fail(reason, true);
    return sessions;
  }

  private enqueueCast(cast: QueuedCast): void {
    const refusal = this.refusal(false);
    if (refusal !== undefined) throw refusal;
    if (this.queuedCasts >= this.ports.maxQueuedCasts) {
      throw new GenRpcError('refused', `${this.queuedCasts} casts wait for the connection to ${this.node} already.`);
    }
    this.queuedCasts += 1;
    this.enqueue(cast, false);
  }

  private enqueue(waiter: Waiter, waitForReady: boolean): void {
    const refusal = this.refusal(waitForReady);
    if (refusal !== undefined) return waiter.fail(refusal);
    const failure = this.refusal(false);
    if (failure !== undefined) waiter.waitOn?.(failure);
    this.queue.add(waiter, waitForReady);
    this.ensureDial();
  }

  /** Why nothing may be queued now, if so. */
  private refusal(waitForReady: boolean): GenRpcError | undefined {
    const { state } = this;
    if (state.name === 'closed') return state.reason;
    if (state.name !== 'waiting' || waitForReady) return undefined;
    const nextAttemptMs = Math.ceil(state.until - this.ports.clock.now());
    return nextAttemptMs > 0 ? withNextAttempt(state.error, nextAttemptMs) : undefined;
  }

  private ensureDial(): void {
    const { state } = this;
    if (state.name === 'idle') return this.dial();
    if (state.name !== 'waiting') return;
    const left = state.until - this.ports.clock.now();
    if (left <= 0) this.dial();
    // Whoever waits for the next attempt has nothing else that keeps the process alive.
    else state.timer ??= this.ports.clock.after(left, () => this.dial(), true);
  }

  private dial(): void {
    if (this.state.name === 'waiting') this.state.timer?.cancel();
    const attempt = new AbortController();
    this.state = { name: 'dialling', attempt };
    this.ports.journal.count('dialled');
    this.ports.dial(this.node, attempt.signal).then(
      (authenticated) => this.onConnected(authenticated, attempt),
      (error: unknown) => this.onDialFailed(error, attempt),
    );
  }

  private onConnected({ connection, early, location }: Dialled, { signal }: AbortController): void {
    if (signal.aborted) return connection.abort(new GenRpcError('cancelled', 'Nobody waits for it any more.'));
    this.ports.journal.count('connected');
    const session = new Session(connection, this.ports, this);
    this.state = { name: 'open', session, since: this.ports.clock.now(), location };
    this.flushing = true;
    this.events.status(this, true);
    connection.open(session, early);
    this.flushQueue();
    this.flushing = false;
  }

  /** In the order asked, those too who ask meanwhile. Whoever finds the session gone again waits for the next. */
  private flushQueue(): void {
    this.queuedCasts = 0;
    for (const { waiter, waitForReady } of this.queue.take()) {
      if (waiter.settled) continue;
      if (this.state.name === 'open') waiter.ready(this.state.session, this.ports.clock.now());
      else this.enqueue(waiter, waitForReady);
    }
    if (this.state.name === 'open' && this.queue.length > 0) this.flushQueue();
  }

  private onDialFailed(cause: unknown, { signal }: AbortController): void {
    if (signal.aborted) return;
    const error = nodeDown(this.node, cause);
    this.ports.journal.note('dial_failed', () => `Cannot reach ${this.node}: ${error.message}`);
    this.wait(error, error.code === 'version_mismatch' ? this.backoff.longest() : this.backoff.next());
  }

  private wait(error: GenRpcError, ms: number): void {
    this.state = { name: 'waiting', until: this.ports.clock.now() + ms, error, timer: undefined };
    this.queuedCasts = 0;
    this.queue.fail(withNextAttempt(error, Math.ceil(ms)), false);
    if (this.queue.length > 0) this.ensureDial();
  }
}
