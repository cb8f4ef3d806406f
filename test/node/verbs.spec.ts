import { describe, expect, it } from 'vitest';
import { DRIVERS, twoNodes } from '../support/cluster.js';

describe.each(DRIVERS)('verbs over %s', (driver) => {
  it('call returns the value', async () => {
    await using nodes = await twoNodes({ driver });
    await expect(nodes.a.call('b@127.0.0.1', 'math', 'add', [1, 2])).resolves.toBe(3);
  });

  it('call of an unknown function names it', async () => {
    await using nodes = await twoNodes({ driver });
    const reply = nodes.a.call('b@127.0.0.1', 'math', 'sub', [1, 2]);
    await expect(reply).rejects.toMatchObject({
      code: 'undefined_function',
      message: expect.stringContaining('math.sub'),
    });
  });

  it('call of a throwing function hides what it threw', async () => {
    await using nodes = await twoNodes({ driver });
    const reply = nodes.a.call('b@127.0.0.1', 'math', 'fail');
    await expect(reply).rejects.toMatchObject({
      code: 'handler_failed',
      maybeExecuted: true,
      message: 'math.fail failed.',
    });
  });

  it('call times out and the connection lives', async () => {
    await using nodes = await twoNodes({ driver });
    const reply = nodes.a.call('b@127.0.0.1', 'math', 'never', [], { timeout: 30 });
    await expect(reply).rejects.toMatchObject({ code: 'timeout', maybeExecuted: true });
    await expect(nodes.a.call('b@127.0.0.1', 'math', 'add', [1, 2])).resolves.toBe(3);
    expect(nodes.a.stats().counts.connected).toBe(1);
  });

  it('rejects pending calls when the server aborts', async () => {
    await using nodes = await twoNodes({ driver });
    await nodes.a.connect('b@127.0.0.1');
    const reply = nodes.a.call('b@127.0.0.1', 'math', 'never');
    while (nodes.ran.length === 0) await new Promise(setImmediate);
    nodes.b.abort();
    await expect(reply).rejects.toMatchObject({ code: 'connection_lost', maybeExecuted: true });
  });
});
