/** Why a handshake came to nothing, in the words of the side that is told or finds out. */
import { GenRpcError } from '../protocol/errors.js';
import { PROTOCOL_VERSION } from '../protocol/frame.js';
import { RejectReason, type Reject } from '../protocol/handshake-frames.js';

/** What the calling side makes of a refusal. */
export function rejected(reject: Reject, node: string, isTls: boolean): GenRpcError {
  switch (reject.reason) {
    case RejectReason.Version:
      return versions(node, reject.minVersion, reject.maxVersion);
    case RejectReason.Feature:
      return features(node, 0);
    case RejectReason.Codec:
      return new GenRpcError(
        'protocol_error',
        `${node} has none of this node's codecs. Configure the same codec on both.`,
      );
    case RejectReason.WrongNode:
      return new GenRpcError('wrong_node', `The node at this address is not ${node}.`, { details: { wanted: node } });
    case RejectReason.Duplicate:
      return new GenRpcError('refused', `${node} already has a connection from another node of this name.`);
    default:
      return new GenRpcError(
        'invalid_cookie',
        `${node} refused this node. Do both have the same secret${isTls ? ', and does the certificate of this one name it' : ''}?`,
      );
  }
}

export function versions(node: string, min: number, max: number): GenRpcError {
  const theirs = `${min} to ${max}`;
  return new GenRpcError('version_mismatch', `${node} speaks protocol ${theirs}, this node ${PROTOCOL_VERSION}.`, {
    details: { ours: [PROTOCOL_VERSION, PROTOCOL_VERSION], theirs: [min, max] },
  });
}

export function features(node: string, bits: number): GenRpcError {
  return new GenRpcError('version_mismatch', `${node} and this node do not understand each other's features.`, {
    details: { features: bits >>> 0 },
  });
}

export function unproven(wanted: string, cause?: GenRpcError): GenRpcError {
  return new GenRpcError('invalid_cookie', `${wanted} could not prove that it knows the secret.`, {
    details: { provenBy: 'nobody' },
    cause,
  });
}
