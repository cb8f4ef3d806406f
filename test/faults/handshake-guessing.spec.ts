/** Guessing the secret: how often one may, and what the time that a refusal takes gives away. */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { proveClient, proveServer, verifyClient, verifyServer } from '../../lib/protocol/handshake.js';
import { RejectReason } from '../../lib/protocol/handshake-frames.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { Cluster, SOCKET_DRIVERS } from '../support/cluster.js';
import { Door, greet, keysOf, OTHER_SECRET, proofFrame, refusalOf } from '../support/door.js';
import { helloFor, type RawPeer } from '../support/raw-peer.js';

describe('H-19 guessing the secret', { timeout: 60_000 }, () => {
  const ATTEMPTS = 10_000;

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('H-19 10,000 times gets an address ten tries a minute, and another one in at once', async () => {
      await using door = await Door.open(driver);
      const since = performance.now();
      /** Resolves with whether the guess was even looked at. */
      const guess = async (): Promise<boolean> => {
        let peer: RawPeer | undefined;
        try {
          peer = await door.dial({ from: '127.0.0.2' });
          const { script } = await greet(peer, helloFor('guesser@127.0.0.1', door.name));
          peer.send(proofFrame(script, OTHER_SECRET));
          expect((await refusalOf(peer)).reason).toBe(RejectReason.Denied);
          return true;
        } catch {
          return false;
        } finally {
          peer?.destroy();
        }
      };
      for (let attempt = 0; attempt < 10; attempt += 1) expect(await guess()).toBe(true);
      for (let attempts = 10; attempts < ATTEMPTS; attempts += 30) {
        const heard = await Promise.all(Array.from({ length: Math.min(30, ATTEMPTS - attempts) }, guess));
        expect(heard).not.toContain(true);
      }
      expect(door.counts).toMatchObject({ accepted: 11, auth_failed: 10, admission_refused: ATTEMPTS - 10 });
      const elapsed = performance.now() - since;
      const ofKind = (kind: RegExp): number => door.cluster.log.lines.filter((line) => kind.test(line)).length;
      expect(ofKind(/failed/)).toBeLessThanOrEqual(1 + elapsed / 1000);
      expect(ofKind(/throttled/)).toBeLessThanOrEqual(1 + elapsed / 1000);
      expect(door.cluster.log.lines).toHaveLength(ofKind(/failed/) + ofKind(/throttled/));

      const honest = await door.dial({ from: '127.0.0.3' });
      const began = performance.now();
      await honest.login('honest@127.0.0.1', door.name);
      expect(performance.now() - began).toBeLessThan(1000);
    });
  });

  it('H-19 the address is heard again after a minute', async () => {
    await using cluster = new Cluster({ virtual: { seed: 1 }, options: { reconnect: { min: 1, max: 1 } } });
    const b = await cluster.start('b');
    const guesser = cluster.create('guesser', { listen: false, secret: OTHER_SECRET });
    const guess = async (): Promise<void> => {
      const reply = expect(guesser.call(b.name, 'canary', 'sing')).rejects.toThrow();
      await cluster.clock?.advance(2);
      await reply;
    };
    for (let attempt = 0; attempt < 12; attempt += 1) await guess();
    expect(b.stats().counts).toMatchObject({ auth_failed: 10, admission_refused: 2 });
    await cluster.clock?.advance(60_000);
    await guess();
    expect(b.stats().counts).toMatchObject({ auth_failed: 11, admission_refused: 2 });
  });
});

describe('H-20 the time that a refusal takes', { timeout: 60_000 }, () => {
  const PROOFS = 20_000;
  /** Of the measurements: the slowest ones belong to the machine, not to what is measured. */
  const KEPT = 0.9;
  const LIMIT = 4.5;
  const RUNS = 3;
  const keys = [keysOf()];
  const script = randomBytes(32);
  const clientProof = proveClient(keys, script);
  const serverProof = proveServer(keysOf(), script, clientProof);

  /** A copy of `right` whose first `prefix` bytes alone are right. */
  function wrongAfter(prefix: number, right: Uint8Array, random: SeededRandom): Buffer {
    return Buffer.from(right.map((byte, at) => (at < prefix ? byte : byte ^ (1 + random.below(255)))));
  }

  function momentsOf(sample: readonly number[]): { mean: number; error: number } {
    const mean = sample.reduce((sum, one) => sum + one, 0) / sample.length;
    const variance = sample.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (sample.length - 1);
    return { mean, error: variance / sample.length };
  }

  /** Welch's t between proofs that are wrong early and proofs that are wrong late, measured in a random order. */
  function leakOf(verify: (proof: Buffer) => boolean, right: Uint8Array, random: SeededRandom): number {
    const proofs = Array.from({ length: PROOFS }, () => {
      const prefix = random.below(32);
      return { late: prefix >= 16, proof: wrongAfter(prefix, right, random), ns: 0 };
    });
    for (const { proof } of proofs.slice(0, 2000)) verify(proof);
    for (const one of proofs) {
      const began = process.hrtime.bigint();
      verify(one.proof);
      one.ns = Number(process.hrtime.bigint() - began);
    }
    const kept = proofs.sort((one, other) => one.ns - other.ns).slice(0, PROOFS * KEPT);
    const [early, late] = [false, true].map((wanted) => {
      return momentsOf(kept.filter((one) => one.late === wanted).map(({ ns }) => ns));
    });
    if (early === undefined || late === undefined) throw new Error('there are two classes');
    return Math.abs(early.mean - late.mean) / Math.sqrt(early.error + late.error);
  }

  /** The smallest leak of some runs: noise may blur one, a comparison that leaks shows in each. */
  function leastLeakOf(verify: (proof: Buffer) => boolean, right: Uint8Array): number {
    let least = Infinity;
    for (let run = 1; run <= RUNS && least >= LIMIT; run += 1) {
      least = Math.min(least, leakOf(verify, right, new SeededRandom(run)));
    }
    return least;
  }

  it('H-20 does not tell a client how much of its proof was right', () => {
    expect(leastLeakOf((proof) => verifyClient(keys, script, proof) !== undefined, clientProof)).toBeLessThan(LIMIT);
  });

  it('H-20 does not tell a server how much of its proof was right', () => {
    const verify = (proof: Buffer): boolean => verifyServer(keys, script, clientProof, proof);
    expect(leastLeakOf(verify, serverProof)).toBeLessThan(LIMIT);
  });

  it('H-20 would show if the comparison stopped at the first wrong byte', () => {
    const stopsEarly = (proof: Buffer): boolean => {
      const expected = Buffer.from(proveClient(keys, script));
      for (let at = 0; at < expected.length; at += 1) {
        if (Buffer.compare(expected.subarray(at, at + 1), proof.subarray(at, at + 1)) !== 0) return false;
      }
      return true;
    };
    expect(leastLeakOf(stopsEarly, clientProof)).toBeGreaterThan(LIMIT);
  });
});
