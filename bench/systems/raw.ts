/** The floor: `node:net` and msgpackr, without names to look up, deadlines, limits or authentication. */
import type { BenchClient, BenchServer, System } from '../system.js';
import { FramedSocket } from './framed-socket.js';
import { dial, listen, type Wire } from './wire.js';

/** As a message of any RPC: a number to match the reply by, a name, and data. */
type Request = { id: number } & (
  | { name: 'math.add'; data: { a: number; b: number } }
  | { name: 'math.note'; data: { value: number } }
  | { name: 'math.notes'; data: null }
  | { name: 'math.count'; data: { items: number } }
);

/** With `item`: there is more to come. */
type Reply = { id: number; value: number } | { id: number; item: { n: number } };

interface Waiting {
  item?(item: { n: number }): void;
  resolve(value: number): void;
  reject(reason: Error): void;
}

/** The number of a message that wants no reply. */
const EVENT = 0;

export function over(wire: Wire): System {
  return { serve: () => serve(wire), connect: (port) => connect(port, wire) };
}

function serve(wire: Wire): Promise<BenchServer> {
  let notes = 0;
  return listen(wire, (socket) => {
    const frames = new FramedSocket(socket, (message) => {
      const request = message as Request;
      const { id } = request;
      if (request.name === 'math.add') frames.send({ id, value: request.data.a + request.data.b } satisfies Reply);
      else if (request.name === 'math.note') notes += 1;
      else if (request.name === 'math.count') count(frames, id, request.data.items);
      else frames.send({ id, value: notes } satisfies Reply);
    });
  });
}

/** An item a frame; they leave in writes of several. The reply ends them. */
function count(frames: FramedSocket, id: number, items: number): void {
  for (let n = 1; n <= items; n++) frames.send({ id, item: { n } } satisfies Reply);
  frames.send({ id, value: items } satisfies Reply);
}

async function connect(port: number, wire: Wire): Promise<BenchClient> {
  const socket = await dial(wire, port);
  const waiting = new Map<number, Waiting>();
  const frames = new FramedSocket(socket, (message) => {
    const reply = message as Reply;
    const call = waiting.get(reply.id);
    if ('item' in reply) return call?.item?.(reply.item);
    call?.resolve(reply.value);
    waiting.delete(reply.id);
  });
  socket.on('close', () => waiting.forEach((call) => call.reject(new Error('The connection was lost.'))));
  let lastId = EVENT;
  const call = (request: (id: number) => Request, item?: Waiting['item']): Promise<number> =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, item === undefined ? { resolve, reject } : { resolve, reject, item });
      frames.send(request(id));
    });
  return {
    add: (a, b) => call((id) => ({ id, name: 'math.add', data: { a, b } })),
    note: (value) => frames.send({ id: EVENT, name: 'math.note', data: { value } } satisfies Request),
    notes: () => call((id) => ({ id, name: 'math.notes', data: null })),
    count: async (items) => {
      let sum = 0;
      await call(
        (id) => ({ id, name: 'math.count', data: { items } }),
        ({ n }) => (sum += n),
      );
      return sum;
    },
    connect: async (count) => {
      for (let made = 0; made < count; made++) {
        const another = await connect(port, wire);
        // A TLS client is ready before its server has looked at it.
        await another.notes?.();
        await another.close();
      }
    },
    close: () => void socket.destroy(),
  };
}
