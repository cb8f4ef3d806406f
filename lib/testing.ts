/**
 * For tests: a cluster of Nest applications in memory, and, without Nest, a network in memory, a clock that waits for the
 * test, randomness from a seed, certificates of one's own.
 */
export { CertificateAuthority, selfSigned } from './authority/certificate-authority.js';
export { writeCertificate, type CertificatePaths } from './authority/certificate-writer.js';
export type {
  AlternativeNames,
  AuthorityOptions,
  CertificateOptions,
  IssuedCertificate,
  IssueOptions,
  KeyKind,
} from './authority/issue-options.js';
export { MemoryLink, MemoryNetwork, type MemoryNetworkOptions } from './driver/memory.driver.js';
export { createTestCluster } from './testing/create-test-cluster.js';
export { SeededRandom } from './testing/seeded-random.js';
export type {
  TestAppOf,
  TestCluster,
  TestClusterOptions,
  TestModule,
  TestNode,
  TestNodes,
} from './testing/test-cluster.js';
export { VirtualClock } from './testing/virtual-clock.js';
