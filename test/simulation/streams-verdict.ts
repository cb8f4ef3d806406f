/** What must be so of every simulated world, whatever went wrong in it. */
import type { Occurrence } from '../../lib/connection/journal.js';
import { isGenRpcError } from '../../lib/protocol/errors.js';
import { PATIENT_MS, type Deed, type Run } from './streams-deed.js';
import type { Producer } from './streams-items.js';
import type { World } from './streams-world.js';

/** Deadlines of one slot expire together, at its end. */
const SLOT_MS = 17;

/** What sources and functions throw on purpose. */
const PLANNED: ReadonlySet<string> = new Set(['as planned', 'told to stop']);

/** A question and its answer, which may just be on their way. */
const HEARTBEATS = 24;

/** What a peer that keeps to the protocol is never told. */
const NEVER: readonly Occurrence[] = ['protocol_error', 'fc_violation', 'credit_flood', 'auth_failed', 'cast_overload'];

export function verdictOf(world: World): string[] {
  const { deeds, faults } = world;
  return [
    ...faults,
    ...deeds.flatMap((deed) => verdictOn(deed, world).map((what) => `${deed.id} (${deed.verb}) ${what}`)),
    ...orderVerdict(world),
    ...countsVerdict(world),
  ];
}

/** Of what is idle nothing may be left, before anybody closes anything. */
export function leftovers({ lives, cluster }: World): string[] {
  const left = lives.flatMap(({ node, number, over, ended }) => {
    const { pendingCalls, runningCalls, stuckCalls, bufferedBytes } = node.stats();
    const sum = pendingCalls + runningCalls + stuckCalls + (bufferedBytes > HEARTBEATS ? 1 : 0);
    if (over && !ended) return [`process ${number} does not end`];
    return sum === 0 ? [] : [`process ${number} has ${JSON.stringify(node.stats())}`];
  });
  for (const { dialled, accepted } of cluster.network.links) {
    if (dialled.queuedBytes + accepted.queuedBytes > HEARTBEATS) left.push('bytes are left on a link');
  }
  return left;
}

function verdictOn(deed: Deed, world: World): string[] {
  const { runs } = deed;
  const said: string[] = [];
  if (runs.length > 1) said.push(`ran ${runs.length} times`);
  for (const run of runs) said.push(...runVerdict(deed, run));
  said.push(...producerVerdict(deed.request, 'argument'));
  const isCast = deed.verb === 'cast' || deed.verb === 'ordered';
  said.push(...(isCast ? castVerdict(deed) : callVerdict(deed)));
  if (deed.probe || world.calm) said.push(...calmVerdict(deed));
  return said;
}

function castVerdict({ accepted, runs, probe }: Deed): string[] {
  if (!accepted && runs.length > 0) return ['was not accepted, but ran'];
  return probe && runs.length === 0 ? ['did not run'] : [];
}

function callVerdict(deed: Deed): string[] {
  const { runs, settled, result, maybeExecuted, reader, plan, beganAt } = deed;
  if (settled !== 1) return [`settled ${settled} times`];
  const said: string[] = [];
  if (deed.afterwards > 0) said.push('heard something after its end');
  if (result === 'ok' && runs.length === 0) said.push('was answered, but did not run');
  if (!maybeExecuted && runs.length > 0) said.push(`is said not to have run (${result}), but did`);
  if (deed.wrongAnswer) said.push('got a wrong answer');
  const dueAt = beganAt + plan.timeout + SLOT_MS;
  if (reader === undefined) return deed.settledAt > dueAt ? [...said, 'settled late'] : said;
  if (reader.lateMs > SLOT_MS) said.push(`waited ${reader.lateMs} ms longer than it may`);
  if (plan.by === 'sink' && deed.settledAt > dueAt) said.push('settled late');
  return [...said, ...replyVerdict(deed)];
}

/** A stream is the beginning of what was made; without an error, it is all of it. */
function replyVerdict({ runs: [run], reader, result }: Deed): string[] {
  const said: string[] = [];
  const made = run?.producer?.made ?? 0;
  const got = reader?.got ?? 0;
  if (reader !== undefined && reader.wrong > 0) said.push(`got ${reader.wrong} wrong items`);
  if (got > made) said.push(`got ${got} items of ${made}`);
  if (result === 'ok' && !(run?.producer?.complete === true && got === made))
    said.push(`ended with ${got} of ${made} items`);
  return said;
}

function runVerdict(deed: Deed, run: Run): string[] {
  const { plan, beganAt, result, request } = deed;
  const { reader, abortedAt, abortedBy } = run;
  const said = producerVerdict(run.producer, 'reply');
  if (run.ended === undefined) said.push('runs for ever');
  if (reader !== undefined) {
    if (reader.wrong > 0) said.push(`read ${reader.wrong} wrong items`);
    if (reader.end === undefined) said.push('reads for ever');
    if (reader.got > (request?.made ?? 0)) said.push(`read ${reader.got} items of ${request?.made}`);
    const whole = request?.complete === true && reader.got === request.made;
    if (reader.end === 'clean' && !whole) said.push(`read ${reader.got} items, and an end`);
  }
  if (abortedAt === undefined) return said;
  if (result === 'ok') said.push('was answered, and told to stop');
  if (result === 'refused' && !deed.maybeExecuted) said.push('was refused, and told to stop');
  if (abortedBy === 'timeout' && abortedAt < beganAt + plan.timeout)
    said.push('was told too early that its time is up');
  const isCast = deed.verb === 'cast' || deed.verb === 'ordered';
  if (!isCast && abortedAt > run.beganAt + plan.timeout + SLOT_MS) said.push('was told too late that its time is up');
  return said;
}

function producerVerdict(producer: Producer | undefined, what: string): string[] {
  return producer === undefined || !producer.begun || producer.over ? [] : [`goes on making its ${what}`];
}

/** Where nothing breaks, what was begun ends as it was meant to. */
function calmVerdict(deed: Deed): string[] {
  const { result, runs, plan, accepted, verb, request } = deed;
  if (verb === 'cast' || verb === 'ordered') return accepted && runs.length > 1 ? ['ran twice'] : [];
  const [run] = runs;
  if (run?.abortedBy === 'timeout' && plan.timeout === PATIENT_MS) return ['was told to stop by the clock alone'];
  if (result === 'ok' || (result === 'left' && (!deed.probe || plan.reply.endless))) return [];
  if (!deed.probe) {
    if ((result === 'refused' || result === 'node_down') && runs.length === 0) return [];
    if (result === 'cancelled' && (plan.cancelAt !== undefined || request?.failed === true)) return [];
    if (result === 'timeout' && plan.timeout < PATIENT_MS) return [];
    const pushes = plan.reply.as === 'push' || plan.request.as === 'push';
    if (result === 'refused' && pushes) return [];
    const failed = plan.throws || run?.producer?.failed === true || run?.reader?.end === 'error' || pushes;
    if (result === 'handler_failed' && failed) return [];
  }
  return [`failed though nothing went wrong: ${result} ${deed.message}`];
}

/** Ordered casts of one process to another run in the order sent. */
function orderVerdict({ deeds }: World): string[] {
  const lines = new Map<string, { id: number; beganAt: number }>();
  const said: string[] = [];
  for (const { verb, from, to, runs, id } of deeds) {
    const [run] = runs;
    if (verb !== 'ordered' || run === undefined) continue;
    const line = `${from} ${to} ${run.life}`;
    const last = lines.get(line);
    if (last !== undefined && last.beganAt > run.beganAt) said.push(`${id} ran before ${last.id}`);
    lines.set(line, { id, beganAt: run.beganAt });
  }
  return said;
}

function countsVerdict({ lives, cluster }: World): string[] {
  const thrown = cluster.log.causes.filter(
    (cause) => !isGenRpcError(cause) && !(cause instanceof Error && PLANNED.has(cause.message)),
  );
  const said = thrown.map((cause) => `something threw: ${String(cause)}`);
  return said.concat(
    lives.flatMap(({ node, number }) => {
      const { counts } = node.stats();
      return NEVER.filter((what) => counts[what] !== undefined).map((what) => `process ${number} counts ${what}`);
    }),
  );
}
