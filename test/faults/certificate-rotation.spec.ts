/** Certificates of running nodes are replaced by their files, over real sockets and with the clock of the system. */
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { CertificateAuthority } from '../../lib/authority/certificate-authority.js';
import type { Occurrence } from '../../lib/connection/journal.js';
import { systemFiles } from '../../lib/system/system-files.js';
import { systemSignals } from '../../lib/system/system.js';
import { createNode } from '../../lib/node/create-node.js';
import { GenRpcConfigError } from '../../lib/options/config-error.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { TlsOptions } from '../../lib/node/tls-options.js';
import type { Files, Watch } from '../../lib/ports/files.js';
import type { ProcessSignals } from '../../lib/ports/process-signals.js';
import { VirtualClock } from '../../lib/testing/virtual-clock.js';
import { CertificateDirectory } from '../support/certificate-directory.js';
import { Cluster, SECRET, type NodeSettings } from '../support/cluster.js';
import { portOf, until } from '../support/door.js';

const A = 'a@127.0.0.1';
const B = 'b@127.0.0.1';

/** `a` calls `b`, each with certificates in files; `b` tells whose certificate it sees, and holds a call until told. */
async function nodesWithFiles(options: NodeSettings = {}) {
  const directory = await CertificateDirectory.make();
  const cluster = new Cluster({ driver: 'tls' });
  const b = await cluster.start('b', { tls: await directory.tlsOf(B) });
  const a = cluster.create('a', { listen: false, tls: await directory.tlsOf(A), ...options });
  const gate = new EventEmitter();
  b.register('who', {
    calls: (_args, { caller }) => caller.certificate?.fingerprint,
    waits: async () => (await once(gate, 'open'))[0] as string,
  });
  /** Each key has a connection of its own. */
  const seenBy = (key: string): Promise<unknown> => a.call({ node: B, key }, 'who', 'calls');
  return {
    ...{ directory, cluster, a, b, gate, seenBy },
    async [Symbol.asyncDispose]() {
      await cluster[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
    },
  };
}

async function counted(node: GenRpcNode, kind: Occurrence, times = 1): Promise<void> {
  await until(() => (node.stats().counts[kind] ?? 0) >= times);
}

/** The fingerprint of what a listener shows to whoever comes now. */
async function shownAt(port: number, { cert, key, ca }: { cert: string; key: string; ca: string }): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', cert, key, ca, checkServerIdentity: () => undefined });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

const fingerprintOf = ({ cert }: { cert: string }): string => new X509Certificate(cert).fingerprint256;

describe('certificates of running nodes', () => {
  it('L-11 replaced by their files: new connections use the new one, old ones live on', async () => {
    await using nodes = await nodesWithFiles();
    const { a, b, directory, seenBy } = nodes;
    const before = await seenBy('old');
    const waiting = a.call({ node: B, key: 'old' }, 'who', 'waits');
    const [renewed, shown] = await Promise.all([directory.renew(A), directory.renew(B)]);
    await Promise.all([counted(a, 'certificate_renewed'), counted(b, 'certificate_renewed')]);
    expect(await seenBy('new')).toBe(fingerprintOf(renewed));
    expect(await shownAt(portOf(nodes.cluster, B), { ...renewed, ca: directory.authority.cert })).toBe(
      fingerprintOf(shown),
    );
    expect(await seenBy('old')).toBe(before);
    expect(before).not.toBe(fingerprintOf(renewed));
    nodes.gate.emit('open', 'still here');
    await expect(waiting).resolves.toBe('still here');
    expect(a.stats()).toMatchObject({ certificateDays: 364, openConnections: 2 });
    expect(b.stats().counts).not.toHaveProperty('connection_lost');
  });

  it('L-11 replaced by a broken file: the old ones stay in use, and somebody is told', async () => {
    await using nodes = await nodesWithFiles();
    const { a, b, cluster, directory, seenBy } = nodes;
    const before = await seenBy('1');
    directory.write(A, { cert: 'torn', key: 'torn' });
    directory.write(B, await CertificateAuthority.create().then((other) => other.issue(B)));
    await Promise.all([counted(a, 'certificate_not_renewed'), counted(b, 'certificate_not_renewed')]);
    expect(await seenBy('2')).toBe(before);
    expect(cluster.log.lines.sort()).toEqual([
      expect.stringMatching(/^New certificates of a@.*: tls\.cert: expected a certificate, as PEM, got .*\.pem/),
      expect.stringMatching(/^New certificates of b@.* that leads to an authority in tls\.ca/),
    ]);
    expect(() => b.reloadCertificates()).toThrow(GenRpcConfigError);
    const [renewed] = await Promise.all([directory.renew(A), directory.renew(B)]);
    await Promise.all([counted(a, 'certificate_renewed'), counted(b, 'certificate_renewed')]);
    expect(await seenBy('3')).toBe(fingerprintOf(renewed));
    expect(a.stats().certificateDays).toBe(364);
  });

  it('L-11 replaced at once where somebody asks for it', async () => {
    await using nodes = await nodesWithFiles();
    const { a, directory, seenBy } = nodes;
    await seenBy('1');
    const renewed = await directory.renew(A);
    a.reloadCertificates();
    expect(await seenBy('2')).toBe(fingerprintOf(renewed));
    a.reloadCertificates();
    expect(a.stats().counts).toMatchObject({ certificate_renewed: 1 });
  });

  it('L-11 their authority replaced, by the three steps that the docs tell: no call fails', async () => {
    // A connection for each call: the one before is closed.
    await using nodes = await nodesWithFiles({ maxLanes: 1 });
    const { a, b, directory, seenBy } = nodes;
    const [old, next] = [directory.authority, await CertificateAuthority.create()];
    let failed: unknown;
    let asked = 0;
    const asking = new AbortController();
    const traffic = (async () => {
      while (!asking.signal.aborted) await seenBy(String((asked += 1))).catch((error: unknown) => (failed ??= error));
    })();
    const step = async (change: () => Promise<unknown>, times: number): Promise<void> => {
      await change();
      await Promise.all([counted(a, 'certificate_renewed', times), counted(b, 'certificate_renewed', times)]);
      const sofar = asked;
      await until(() => asked > sofar + 3);
    };
    await step(async () => directory.trust(old, next), 1);
    directory.authority = next;
    await step(() => Promise.all([directory.renew(A), directory.renew(B)]), 2);
    await step(async () => directory.trust(next), 3);
    asking.abort();
    await traffic;
    expect(failed).toBeUndefined();
    const { cert, key } = await old.issue('c@127.0.0.1');
    const stranger = nodes.cluster.create('c', { listen: false, tls: { cert, key, ca: [old.cert, next.cert] } });
    await expect(stranger.call(B, 'who', 'calls', [], { timeout: 2000 })).rejects.toMatchObject({
      code: 'node_down',
    });
  });

  it('are watched no more once their node is closed', async () => {
    using directory = await CertificateDirectory.make();
    const clock = new VirtualClock();
    const open = new Set<Watch>();
    const opened = (watch: Watch): Watch => {
      const counted = { close: () => [open.delete(counted), watch.close()] };
      open.add(counted);
      return counted;
    };
    const files: Files = { ...systemFiles, watch: (...args) => opened(systemFiles.watch(...args)) };
    const signals: ProcessSignals = { on: (signal, run) => opened(systemSignals.on(signal, run)) };
    const tls: TlsOptions = { ...(await directory.tlsOf(A)), reloadSignal: 'SIGUSR2' };
    const node = createNode({ name: A, secret: SECRET, listen: false, tls }, { clock, files, signals });
    expect(open.size).toBe(2);
    await clock.advance(120_000);
    expect(open.size).toBe(2);
    await node.close();
    expect([open.size, clock.pending, process.listenerCount('SIGUSR2')]).toEqual([0, 0, 0]);
  });

  it('keep no process alive', { timeout: 90_000 }, async () => {
    using directory = await CertificateDirectory.make();
    const options = { name: A, secret: SECRET, listen: false, tls: await directory.tlsOf(A) };
    const core = pathToFileURL(join(import.meta.dirname, '../../dist/esm/core.js'));
    const program = `import { createNode } from '${core.href}'; createNode(${JSON.stringify(options)});`;
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 60_000 });
    expect([status, stderr.toString()]).toEqual([0, '']);
  });
});
