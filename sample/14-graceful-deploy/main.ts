/** A service is replaced by its next version while it is called without a pause: nobody notices but by its version. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNode } from 'nestjs-gen-rpc/core';
import { secret } from '../secret.js';
import { say, title } from '../story.js';
import { Deployment } from './deployment.js';
import { type Recount, STOCK } from './names.js';

const CALLERS = 20;
const SHELVES = 40;

title('a deployment that nobody notices');
const stock = new Deployment();
await stock.start('version 1');
const rpc = createNode({
  name: 'front@127.0.0.1',
  secret,
  listen: false,
  nodes: { [STOCK]: { port: stock.port } },
  reconnect: { max: 500 },
});

/** Calls that wait for a node that is away, for as long as their deadline allows. */
const call = <T>(fn: string, args: readonly unknown[]): Promise<T> =>
  rpc.call<T>(STOCK, 'stock', fn, args, { timeout: 15_000, waitForReady: true });

class Crowd {
  private going = true;
  private asked = 0;
  private readonly answers: string[] = [];
  private readonly callers = Array.from({ length: CALLERS }, () => this.ask());

  async leave(): Promise<{ asked: number; answers: readonly string[] }> {
    this.going = false;
    await Promise.all(this.callers);
    return { asked: this.asked, answers: this.answers };
  }

  private async ask(): Promise<void> {
    while (this.going) {
      this.asked += 1;
      this.answers.push(await call<string>('count', [5]));
    }
  }
}

/** A long job, which goes on where it was stopped. */
async function recountAll(): Promise<Recount[]> {
  const parts: Recount[] = [];
  for (let from = 0; from < SHELVES; from = parts.at(-1)?.upTo ?? 0) {
    parts.push(await call<Recount>('recount', [from, SHELVES]));
  }
  return parts;
}

try {
  const crowd = new Crowd();
  const recount = recountAll();
  const slow = call<string>('count', [1000]);
  await sleep(300);
  say('deploy', `version 1 is told to end, while ${CALLERS} callers never pause`);
  const signal = await stock.stop();
  assert.equal(signal, 'SIGTERM');
  say('', 'it has ended by itself, and nobody had to kill it');
  assert.equal(await slow, '40, says version 1');
  say('slow', 'what it had begun, it has ended first, with its database still open → 40, says version 1');
  await stock.start('version 2');
  const parts = await recount;
  assert.deepEqual(
    parts.map(({ by }) => by),
    ['version 1', 'version 2'],
  );
  say(
    'long',
    `a job that would have taken too long was handed back, and version 2 went on with it → ${SHELVES} shelves`,
  );
  await sleep(200);
  const { asked, answers } = await crowd.leave();
  assert.equal(answers.length, asked);
  assert.deepEqual([...new Set(answers)], ['40, says version 1', '40, says version 2']);
  say('crowd', `version 1 answered, then version 2 → none of their ${asked} calls was lost`);
} finally {
  await rpc.close();
  await stock.stop();
}
