/** From what the domain name system says of a service to nodes: of equal answers, in whatever order, equal ones. */
import type { ServiceTarget } from '../ports/name-server.js';
import type { NodeRecord } from './discovery.js';
import type { DnsServiceOptions } from './dns-options.js';
import { moduleRecords } from './static.discovery.js';

/** Of one node; a table takes no more. */
const MOST_PLACES = 16;

/** One node for each address. */
export function addressRecords(service: DnsServiceOptions, addresses: readonly string[]): NodeRecord[] {
  const { name, port, driver } = service;
  const distinct = [...new Set(addresses.map(canonical))].sort();
  return distinct.map((host) => ({
    name: `${name}@${host}`,
    locations: [{ driver, host, port }],
    modules: modulesOf(service),
  }));
}

/** One node for each target, with all of its ports in the order to try. None where there is none decidedly. (RFC 2782) */
export function targetRecords(service: DnsServiceOptions, targets: readonly ServiceTarget[]): NodeRecord[] {
  const byHost = new Map<string, ServiceTarget[]>();
  for (const target of [...targets].filter(({ name }) => !isNone(name)).sort(inOrder)) {
    const host = target.name.replace(/\.$/, '').toLowerCase();
    byHost.set(host, [...(byHost.get(host) ?? []), target]);
  }
  return [...byHost]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([host, all]) => {
      const ports = [...new Set(all.map(({ port }) => port))].slice(0, MOST_PLACES);
      return {
        name: `${service.name}@${host}`,
        locations: ports.map((port) => ({ driver: service.driver, host, port })),
        modules: modulesOf(service),
        priority: all[0]?.priority,
        weight: all[0]?.weight,
      };
    });
}

/** "The service is decidedly not available at this domain." (RFC 2782) */
export function isDecidedlyNone(targets: readonly ServiceTarget[]): boolean {
  return targets.length > 0 && targets.every(({ name }) => isNone(name));
}

function isNone(target: string): boolean {
  return target === '' || target === '.';
}

/** RFC 2782 draws among equal priorities; here it is the node that is drawn, and its places have a fixed order. */
function inOrder(one: ServiceTarget, other: ServiceTarget): number {
  return one.priority - other.priority || other.weight - one.weight || one.port - other.port;
}

function modulesOf({ modules }: DnsServiceOptions): NodeRecord['modules'] {
  return modules && moduleRecords(modules);
}

/** RFC 5952, as others write it into names. */
function canonical(address: string): string {
  return address.includes(':') && URL.canParse(`http://[${address}]/`)
    ? new URL(`http://[${address}]/`).hostname.slice(1, -1)
    : address;
}
