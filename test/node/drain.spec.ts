import { describe, expect, it } from 'vitest';
import type { CallContext } from '../../lib/server/module-registry.js';
import { DRIVERS, twoNodes, type TwoNodes } from '../support/cluster.js';

/** A function of `b` that ends when the test says so. */
function gate(nodes: TwoNodes): { open: (value: unknown) => void; entered: Promise<CallContext> } {
  let open: (value: unknown) => void = () => {};
  let enter: (context: CallContext) => void = () => {};
  const entered = new Promise<CallContext>((resolve) => (enter = resolve));
  nodes.b.register('gate', {
    pass: (_: unknown, context) => {
      enter(context);
      return new Promise((resolve) => (open = resolve));
    },
  });
  return { open: (value) => open(value), entered };
}

describe.each(DRIVERS)('a node that drains, over %s', (driver) => {
  it('answers what runs, refuses what is new, and then is closed', async () => {
    await using nodes = await twoNodes({ driver });
    const { open, entered } = gate(nodes);
    const running = nodes.a.call('b@127.0.0.1', 'gate', 'pass');
    await entered;
    const drained = nodes.b.drain();
    const crossing = nodes.a.call('b@127.0.0.1', 'math', 'add', [1, 2]);
    // It was on its way before `a` had heard.
    await expect(crossing).resolves.toBe(3);
    const late = nodes.a.call('b@127.0.0.1', 'math', 'add', [3, 4]);
    await expect(late).rejects.toMatchObject({ maybeExecuted: false });
    open('done');
    await expect(running).resolves.toBe('done');
    await drained;
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 0 });
    expect(nodes.ran).toEqual(['add']);
  });

  it('lets its own calls finish too', async () => {
    await using nodes = await twoNodes({ driver });
    const { open, entered } = gate(nodes);
    const running = nodes.a.call('b@127.0.0.1', 'gate', 'pass');
    await entered;
    const drained = nodes.a.drain();
    open('done');
    await expect(running).resolves.toBe('done');
    await drained;
    expect(nodes.a.stats()).toMatchObject({ pendingCalls: 0, connectedNodes: 0 });
    expect(nodes.log.lines).toEqual([]);
  });

  it('waits no longer than its grace period, and tells those that still run', async () => {
    await using nodes = await twoNodes({ driver });
    const { entered } = gate(nodes);
    const running = nodes.a.call('b@127.0.0.1', 'gate', 'pass');
    const context = await entered;
    const { signal } = context;
    const lost = expect(running).rejects.toMatchObject({ code: 'shutting_down', maybeExecuted: true });
    await nodes.b.drain(50);
    await lost;
    expect(signal.aborted).toBe(true);
  });

  it('may be drained, closed and aborted again and again', async () => {
    await using nodes = await twoNodes({ driver });
    await nodes.a.call('b@127.0.0.1', 'math', 'add', [1, 2]);
    await Promise.all([nodes.b.drain(), nodes.b.drain(), nodes.b.close(), nodes.b.close()]);
    nodes.b.abort();
    await nodes.b.close();
    await expect(nodes.b.call('a@127.0.0.1', 'math', 'add', [1, 2])).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('may stop listening at the same time', async () => {
    await using nodes = await twoNodes({ driver });
    const { open, entered } = gate(nodes);
    const running = nodes.a.call('b@127.0.0.1', 'gate', 'pass');
    await entered;
    const ended = [nodes.b.stopListening(3_600_000), nodes.b.drain(3_600_000)];
    open('done');
    await running;
    await Promise.all(ended);
    expect(nodes.b.stats()).toMatchObject({ runningCalls: 0, acceptedConnections: 0 });
  });
});
