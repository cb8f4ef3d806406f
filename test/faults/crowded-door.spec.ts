/** More strangers at the door than there is room for: those who come from elsewhere still get in. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_ADMISSION } from '../../lib/node/option-groups.js';
import { HandshakeType } from '../../lib/protocol/handshake-frames.js';
import { ATTACKER, crowd, strangersPossible, type Mute } from '../support/crowd.js';
import { Door, until } from '../support/door.js';
import { SOCKET_DRIVERS } from '../support/cluster.js';
import { helloFor, type RawPeer } from '../support/raw-peer.js';

const HANDSHAKE_TIMEOUT = 2_000;
/** What the fault list gives a server to be rid of them, behind their deadline. */
const RID_OF_THEM_MS = 1_000;
const SLACK_MS = 1_000;

// Only Linux has all of 127.0.0.0/8 without being told.
describe.skipIf(process.platform !== 'linux')('S-12 half-open connections', { timeout: 120_000 }, () => {
  const STRANGERS = strangersPossible();

  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it(`S-12 ${STRANGERS} of one address: few are kept, others get in at once, none is left`, async () => {
      await using door = await Door.open(driver, { handshakeTimeout: HANDSHAKE_TIMEOUT });
      let most = 0;
      const watch = setInterval(() => (most = Math.max(most, door.node.stats().handshakes)), 1);
      const mutes: Mute[] = [];
      try {
        mutes.push(...(await crowd(door.port, STRANGERS)));
        const since = performance.now();
        expect(door.node.stats().handshakes).toBeGreaterThan(0);
        const client = door.cluster.create('client', { listen: false });
        expect(await client.call(door.name, 'health', 'ping')).toBe('pong');
        expect(performance.now() - since).toBeLessThan(1_000);
        await Promise.all(mutes.map((mute) => mute.over()));
        await until(() => door.node.stats().handshakes === 0);
        expect(performance.now() - since).toBeLessThan(HANDSHAKE_TIMEOUT + RID_OF_THEM_MS + SLACK_MS);
        // And the client.
        expect(most).toBeLessThanOrEqual(DEFAULT_ADMISSION.perAddress + 1);
        const { handshake_timeout: late = 0, admission_refused: refused = 0 } = door.counts;
        expect(late + refused).toBe(STRANGERS);
        expect(door.node.stats().acceptedConnections).toBe(2);
        await client.close();
      } finally {
        clearInterval(watch);
        for (const mute of mutes) mute.destroy();
      }
    });
  });
});

describe.skipIf(process.platform !== 'linux')('S-13 places at the door', { timeout: 60_000 }, () => {
  describe.each(SOCKET_DRIVERS)('over %s', (driver) => {
    it('S-13 that one address asks for, all of them: half are left for others at the least', async () => {
      await using door = await Door.open(driver);
      const attackers = Array.from({ length: DEFAULT_ADMISSION.total }, () => door.dial({ from: ATTACKER }));
      await Promise.all(attackers);
      await until(() => (door.counts.accepted ?? 0) + (door.counts.admission_refused ?? 0) > DEFAULT_ADMISSION.total);
      const taken = door.node.stats().handshakes;
      expect(taken).toBeLessThanOrEqual(DEFAULT_ADMISSION.total / 2);
      // Each of the others is heard, all at the same time.
      const others: RawPeer[] = [];
      for (let index = 0; index < DEFAULT_ADMISSION.total / 2; index += 1) {
        others.push(await door.dial({ from: `127.0.1.${1 + (index % 16)}` }));
      }
      for (const peer of others) peer.send(helloFor('stranger@127.0.0.1', door.name));
      for (const peer of others) await peer.handshake(HandshakeType.ServerHello);
      expect(door.node.stats().handshakes).toBe(taken + others.length);
      const client = door.cluster.create('client', { listen: false });
      expect(await client.call(door.name, 'health', 'ping')).toBe('pong');
      await client.close();
    });

    it('S-13 that many addresses take, all of them: the next gets in once their deadline has passed', async () => {
      const admission = { total: 8, perAddress: 4 };
      await using door = await Door.open(driver, { admission, handshakeTimeout: 500 });
      for (const from of ['127.0.1.1', '127.0.1.2', '127.0.1.3']) {
        await Promise.all(Array.from({ length: 4 }, () => door.dial({ from })));
      }
      await until(() => (door.counts.admission_refused ?? 0) === 4);
      expect(door.node.stats().handshakes).toBe(admission.total);
      const client = door.cluster.create('client', { listen: false, reconnect: { min: 10, max: 50 } });
      const reply = client.call(door.name, 'health', 'ping', [], { waitForReady: true });
      expect(await reply).toBe('pong');
      expect(door.counts.handshake_timeout).toBeGreaterThanOrEqual(1);
      await client.close();
    });
  });
});
