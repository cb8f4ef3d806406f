/** What the codes of OpenSSL and Node say about a TLS handshake that came to nothing. */
import type { GenRpcError } from '../protocol/errors.js';

/** How it is counted: the peer's certificate did not do, or TLS did not come about for another reason. */
export type TlsFailure = 'certificate_refused' | 'tls_failed';

/** What is wrong with a certificate, by the code of its verification. */
const CERTIFICATE = new Map([
  ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'there is none'],
  ['CERT_HAS_EXPIRED', 'it has expired'],
  ['CERT_NOT_YET_VALID', 'it is not valid yet'],
  ['CERT_REVOKED', 'it was revoked'],
  ['CERT_UNTRUSTED', 'it is not trusted'],
  ['CERT_REJECTED', 'it is not trusted'],
  ['CERT_CHAIN_TOO_LONG', 'its chain is too long'],
  ['CERT_SIGNATURE_FAILURE', 'its signature is wrong'],
  ['INVALID_CA', 'it was issued by a certificate that is no authority'],
  ['INVALID_PURPOSE', 'it was not made for this role'],
  ['PATH_LENGTH_EXCEEDED', 'its chain is too long'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'it is signed by itself'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'it is by an authority that tls.ca does not hold'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'it is by an authority that tls.ca does not hold'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'it is by an authority that tls.ca does not hold'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'it is by an authority that tls.ca does not hold, or one in between is missing'],
  ['UNABLE_TO_GET_CRL', 'no tls.crl is by its authority'],
  ['CRL_HAS_EXPIRED', 'the tls.crl of its authority has expired'],
  ['CRL_NOT_YET_VALID', 'the tls.crl of its authority is not valid yet'],
  ['CRL_SIGNATURE_FAILURE', 'the signature of the tls.crl is wrong'],
  // Node has no name for most of what OpenSSL finds: an issuer that may not issue, names that it may not, weak keys.
  ['UNSPECIFIED', 'something in it or in its chain is not allowed'],
]);

/** Other reasons, by their code. */
const OTHERS = new Map([
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'what it sends is not TLS'],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'what it sends is not TLS'],
  ['ERR_SSL_HTTP_REQUEST', 'what it sends is not TLS'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'it speaks another version of TLS'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'it speaks another version of TLS'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'it has no cipher suite that is allowed here'],
]);

/** Alerts by which a peer refuses this side's certificate. */
const REFUSED =
  /^ERR_SSL_\w+_ALERT_(CERTIFICATE_(REQUIRED|EXPIRED|REVOKED|UNKNOWN)|(BAD|UNSUPPORTED)_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)$/;

/** What a code means, in words that go behind a colon. */
export function meaningOf(code: string): string | undefined {
  const flaw = CERTIFICATE.get(code);
  if (flaw !== undefined) return `the peer's certificate is not accepted: ${flaw}`;
  return isRefusal(code) ? 'it does not accept the certificate of this node' : OTHERS.get(code);
}

/** Does the peer say by it that it does not accept this side's certificate? */
export function isRefusal(code: string): boolean {
  return REFUSED.test(code);
}

/** How the end of a channel is counted, where TLS is what ended it. */
export function tlsFailureOf({ details }: GenRpcError): TlsFailure | undefined {
  const { cause } = (details ?? {}) as { cause?: unknown };
  if (typeof cause !== 'string') return undefined;
  if (CERTIFICATE.has(cause)) return 'certificate_refused';
  return cause.startsWith('ERR_SSL_') || cause.startsWith('ERR_TLS_') ? 'tls_failed' : undefined;
}
