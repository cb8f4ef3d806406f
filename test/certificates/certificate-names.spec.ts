/** For which nodes a certificate speaks, by what is in it. */
import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { selfSigned } from '../../lib/authority/certificate-authority.js';
import type { AlternativeNames, IssueOptions } from '../../lib/authority/issue-options.js';
import {
  alternativeNames,
  nameMismatch,
  normalHost,
  type NameRules,
} from '../../lib/certificates/certificate-names.js';

const STRICT: NameRules = { allowWildcards: false, allowCommonName: false };

async function certificate(names: AlternativeNames | false, options: IssueOptions = {}): Promise<X509Certificate> {
  return new X509Certificate((await selfSigned('any@anywhere', { names, ...options })).cert);
}

async function speaks(
  names: AlternativeNames | false,
  node: string,
  rules: Partial<NameRules> = {},
  commonName = 'cn',
) {
  return nameMismatch(await certificate(names, { commonName }), node, { ...STRICT, ...rules }) === undefined;
}

describe('a certificate', () => {
  it.each<[string, AlternativeNames, string, boolean]>([
    ['the host by its DNS name', { dns: ['b.example'] }, 'b@b.example', true],
    ['one of several', { dns: ['c.example', 'b.example'] }, 'b@b.example', true],
    ['another host', { dns: ['c.example'] }, 'b@b.example', false],
    ['a host above', { dns: ['example'] }, 'b@b.example', false],
    ['a host below', { dns: ['b.b.example'] }, 'b@b.example', false],
    ['in capitals', { dns: ['B.EXAMPLE'] }, 'b@b.Example', true],
    ['with a dot at the end of the node', { dns: ['b.example'] }, 'b@b.example.', true],
    ['whatever is below a node that begins with a dot', { dns: ['b.example'] }, 'b@.example', false],
    ['nothing but dots', { dns: ['b.example'] }, 'b@..', false],
    ['its address', { ip: ['10.0.0.2'] }, 'b@10.0.0.2', true],
    ['its address, as DNS name', { dns: ['10.0.0.2'] }, 'b@10.0.0.2', false],
    ['a host that is the address in disguise', { ip: ['127.0.0.1'] }, 'b@0x7f.1', false],
    ['another disguise', { ip: ['127.0.0.1'] }, 'b@2130706433', false],
    ['IPv6', { ip: ['::1'] }, 'b@::1', true],
    ['IPv6, written at length', { ip: ['2001:db8::2'] }, 'b@2001:0DB8:0:0:0:0:0:2', true],
    ['another IPv6 address', { ip: ['2001:db8::2'] }, 'b@2001:db8::3', false],
    ['mail', { email: ['b@b.example'] }, 'b@b.example', false],
    ['the host as URI', { uri: ['https://b.example'] }, 'b@b.example', false],
    ['the node alone', { uri: ['genrpc:b@b.example'] }, 'b@b.example', false],
    ['host and node', { dns: ['b.example'], uri: ['genrpc:b@b.example'] }, 'b@b.example', true],
    [
      'one of its nodes',
      { dns: ['b.example'], uri: ['genrpc:a@b.example', 'genrpc:b@B.example'] },
      'b@b.example',
      true,
    ],
    ['another node of the host', { dns: ['b.example'], uri: ['genrpc:a@b.example'] }, 'b@b.example', false],
    ['a node in other letters', { dns: ['b.example'], uri: ['genrpc:B@b.example'] }, 'b@b.example', false],
    ['a URI of another kind beside', { dns: ['b.example'], uri: ['spiffe://x/a'] }, 'b@b.example', true],
  ])('that names %s', async (_title, names, node, expected) => {
    expect(await speaks(names, node)).toBe(expected);
  });

  it.each<[string, string, string, boolean]>([
    ['one level', '*.example.com', 'b@b.example.com', true],
    ['two levels', '*.example.com', 'b@b.c.example.com', false],
    ['the domain itself', '*.example.com', 'b@example.com', false],
    ['part of a label', 'b*.example.com', 'b@bc.example.com', false],
    ['a level in between', 'a.*.example.com', 'b@a.b.example.com', false],
    ['everything', '*', 'b@localhost', false],
  ])('with a wildcard for %s, where wildcards are allowed', async (_title, name, node, expected) => {
    expect(await speaks({ dns: [name] }, node, { allowWildcards: true })).toBe(expected);
    expect(await speaks({ dns: [name] }, node)).toBe(false);
  });

  it('is not believed by its common name, unless that is allowed and there is no other', async () => {
    const allowed = { allowCommonName: true };
    expect(await speaks(false, 'b@b.example', {}, 'b.example')).toBe(false);
    expect(await speaks(false, 'b@b.example', allowed, 'b.example')).toBe(true);
    expect(await speaks(false, 'b@b.example', allowed, 'c.example')).toBe(false);
    expect(await speaks(false, 'b@10.0.0.2', allowed, '10.0.0.2')).toBe(true);
    for (const names of [{ dns: ['c.example'] }, { ip: ['10.0.0.9'] }, { uri: ['a:b'] }, { email: ['a@c'] }]) {
      expect(await speaks(names, 'b@b.example', allowed, 'b.example'), JSON.stringify(names)).toBe(false);
    }
  });

  it('that does not speak for a node says for whom it does', async () => {
    const shown = await certificate({ dns: ['c.example'], uri: ['genrpc:c@c.example'] });
    expect(nameMismatch(shown, 'b@b.example', STRICT)).toBe(
      'it is not for host b.example, but for "DNS:c.example, URI:genrpc:c@c.example"',
    );
    expect(nameMismatch(shown, 'b@c.example', STRICT)).toBe('it is not for node b@c.example, but for "c@c.example"');
  });
});

describe('alternative names', () => {
  it.each([
    ['', []],
    ['DNS:a', ['DNS:a']],
    ['DNS:a, IP Address:10.0.0.1, URI:genrpc:a@b', ['DNS:a', 'IP Address:10.0.0.1', 'URI:genrpc:a@b']],
    ['URI:"x, DNS:evil", DNS:a', ['URI:x, DNS:evil', 'DNS:a']],
    [String.raw`URI:"x\", DNS:evil", DNS:a`, ['URI:x", DNS:evil', 'DNS:a']],
    [String.raw`URI:"genrpc:a@b\u0000", DNS:a`, ['URI:genrpc:a@b\0', 'DNS:a']],
  ])('are told apart: %s', (list, expected) => {
    expect(alternativeNames(list)).toEqual(expected);
  });

  it('that hold a comma and another name are one', async () => {
    const shown = await certificate({ uri: ['genrpc:a@b.example, URI:genrpc:b@b.example'], dns: ['b.example'] });
    expect(alternativeNames(shown.subjectAltName)).toHaveLength(2);
    expect(nameMismatch(shown, 'b@b.example', STRICT)).toContain('not for node b@b.example');
  });
});

describe('hosts', () => {
  it.each<[string, string | undefined]>([
    ['LOCALHOST', 'localhost'],
    ['a.b.', 'a.b'],
    ['[::1]', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['FE80::00AB', 'fe80::ab'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['my_host', 'my_host'],
    ['127.0.0.1', '127.0.0.1'],
    ...['', '.', 'a..b', '.a', 'a b', '-a', 'a-', '127.0.0.01', '127.1', '1', '1.2.3.4.5', 'fe80::1%eth0', '*.a'].map(
      (host): [string, undefined] => [host, undefined],
    ),
  ])('have one form: %s', (host, expected) => {
    expect(normalHost(host)).toBe(expected);
  });
});
