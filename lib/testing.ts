/** For tests: a network in memory, a clock that waits for the test, randomness from a seed, certificates of one's own. */
export { CertificateAuthority, selfSigned } from './certificates/certificate-authority.js';
export { writeCertificate, type CertificatePaths } from './certificates/certificate-writer.js';
export type {
  AlternativeNames,
  AuthorityOptions,
  CertificateOptions,
  IssuedCertificate,
  IssueOptions,
  KeyKind,
} from './certificates/issue-options.js';
export { MemoryLink, MemoryNetwork, type MemoryNetworkOptions } from './driver/memory.driver.js';
export { SeededRandom } from './testing/seeded-random.js';
export { VirtualClock } from './testing/virtual-clock.js';
