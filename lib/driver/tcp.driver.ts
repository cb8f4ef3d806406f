/** Channels over plain TCP. */
import { connect, createServer, type Socket } from 'node:net';
import type { Clock } from '../ports/clock.js';
import type { Channel, Driver, Endpoint, ListenAt, Listener } from './driver.js';
import { SocketChannel } from './socket-channel.js';
import { readingInto, SocketReads } from './socket-reads.js';
import { listenOn, SOCKET_OPTIONS, whenOpen } from './sockets.js';

export class TcpDriver implements Driver {
  readonly name = 'tcp';

  constructor(private readonly clock: Clock) {}

  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    const reads = new SocketReads();
    const socket = connect({ ...endpoint, ...SOCKET_OPTIONS, onread: reads });
    return whenOpen({ socket, ready: 'connect', endpoint, signal }, () => new SocketChannel(socket, this.clock, reads));
  }

  listen(
    endpoint: ListenAt,
    onChannel: (channel: Channel) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    const server = createServer({ ...SOCKET_OPTIONS, pauseOnConnect: true }, (accepted) =>
      onChannel(this.accept(accepted)),
    );
    return listenOn(server, endpoint, onError);
  }

  private accept(accepted: Socket): Channel {
    const reads = new SocketReads();
    const socket = readingInto(reads, accepted);
    return socket === undefined
      ? new SocketChannel(accepted, this.clock)
      : new SocketChannel(socket, this.clock, reads);
  }
}
