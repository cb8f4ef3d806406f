/** What spans say of calls, in the words of OpenTelemetry's conventions for RPC (1.45). Never arguments, nor messages of errors. */
import type { Attributes } from '@opentelemetry/api';
import type { IncomingCall, OutgoingCall, TracedPlace } from '../ports/tracing.js';

const SYSTEM = 'gen_rpc';
/** Characters of a name that a caller made up. */
const MAX_FOREIGN_NAME = 128;

/** `module/function`, or the function's name alone where its module has none. */
export function spanNameOf({ module, fn }: OutgoingCall | IncomingCall): string {
  return module === '' ? fn : `${module}/${fn}`;
}

export function clientAttributes(call: OutgoingCall): Attributes {
  const attributes = { 'rpc.system.name': SYSTEM, 'rpc.method': spanNameOf(call) };
  return call.node === undefined ? attributes : { ...attributes, ...nodeAttributes(call.node) };
}

/** The node that is called. */
export function nodeAttributes(node: string): Attributes {
  return { 'server.address': hostOf(node), 'gen_rpc.peer.node': node };
}

export function placeAttributes({ host, port, address, transport }: TracedPlace): Attributes {
  return {
    'server.address': host,
    'server.port': port,
    'network.peer.address': address,
    'network.peer.port': port,
    ...transportAttributes(transport),
  };
}

export function serverAttributes(call: IncomingCall): Attributes {
  const { node, port, known, caller, transport } = call;
  const method = spanNameOf(call);
  return {
    'rpc.system.name': SYSTEM,
    ...(known
      ? { 'rpc.method': method }
      : { 'rpc.method': '_OTHER', 'rpc.method_original': method.slice(0, MAX_FOREIGN_NAME) }),
    'server.address': hostOf(node),
    ...(port === undefined ? {} : { 'server.port': port }),
    ...callerAttributes(caller.address),
    'gen_rpc.peer.node': caller.node,
    ...transportAttributes(transport),
  };
}

/** The system tells of nobody behind whom it speaks to. */
function callerAttributes(address: string): Attributes {
  return address === 'local' ? {} : { 'client.address': address, 'network.peer.address': address };
}

function transportAttributes(transport: 'tcp' | undefined): Attributes {
  return transport === undefined ? {} : { 'network.transport': transport };
}

function hostOf(node: string): string {
  return node.slice(node.indexOf('@') + 1);
}
