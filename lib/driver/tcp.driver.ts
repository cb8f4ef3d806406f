/** Channels over plain TCP. */
import { connect } from 'node:net';
import type { Clock } from '../ports/clock.js';
import type { Channel, Driver, Endpoint, ListenAt, Listener } from './driver.js';
import { SocketChannel } from './socket-channel.js';
import { listenOn, SOCKET_OPTIONS, whenOpen } from './sockets.js';

export class TcpDriver implements Driver {
  readonly name = 'tcp';

  constructor(private readonly clock: Clock) {}

  connect(endpoint: Endpoint, signal: AbortSignal): Promise<Channel> {
    const socket = connect({ ...endpoint, ...SOCKET_OPTIONS });
    return whenOpen({ socket, ready: 'connect', endpoint, signal }, () => new SocketChannel(socket, this.clock));
  }

  listen(
    endpoint: ListenAt,
    onChannel: (channel: Channel) => void,
    onError: (error: Error) => void,
  ): Promise<Listener> {
    return listenOn(endpoint, (socket) => onChannel(new SocketChannel(socket, this.clock)), onError);
  }
}
