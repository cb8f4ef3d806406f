/** All TCP sockets of a process, whoever makes them: a driver may give the handle of an accepted one to a socket of its own. */
import { createHook } from 'node:async_hooks';

const handles = [];
createHook({
  init: (_id, type, _trigger, handle) => {
    if (type === 'TCPWRAP') handles.push(handle);
  },
}).enable();

const isOwner = ({ description }) => description === 'owner_symbol';

/** Those there have been since this module was loaded, as they are now: the accepted ones know the port of their listener. */
export function tcpSockets() {
  return handles.flatMap((handle) => {
    const owner = Object.getOwnPropertySymbols(handle).find(isOwner);
    return owner === undefined || handle[owner] === null ? [] : [handle[owner]];
  });
}
