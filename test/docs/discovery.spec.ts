/** What docs/DISCOVERY.md says of sources is held against them: names of options, and manifests and files that are shown. */
import { getMetadataStorage } from 'class-validator';
import { describe, expect, it } from 'vitest';
import { AllDnsOptions } from '../../lib/discovery/dns-options.js';
import { DnsDiscovery } from '../../lib/discovery/dns.discovery.js';
import { FileDiscovery, FileDiscoveryOptions } from '../../lib/discovery/file.discovery.js';
import { systemFiles } from '../../lib/system/system-files.js';
import { namesIn, Page, rowsOf } from './pages.js';

const page = await Page.read('docs/DISCOVERY.md');

function optionsOf(type: new () => object): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  return [...new Set(rules.map(({ propertyName }) => propertyName))].toSorted();
}

describe('docs/DISCOVERY.md', () => {
  it.each([
    ['## File', FileDiscoveryOptions],
    ['## DNS', AllDnsOptions],
  ])('names every option of its section %s, and no other', (heading, type) => {
    const named = rowsOf(page.section(heading)).flatMap(([first]) => namesIn(first));
    expect(named.toSorted()).toEqual(optionsOf(type));
  });

  it('shows a file that is right', async () => {
    const [text = ''] = page.snippets('json');
    const files = { ...systemFiles, read: () => Buffer.from(text) };
    const source = new FileDiscovery({ path: 'nodes.json' }, { files });
    await expect(source.resolve('stock@10.0.0.3')).resolves.toEqual({
      ...{ host: 'stock.internal', port: 6000, driver: 'tls' },
    });
  });

  it('shows services that can be asked for', () => {
    const names = [...page.section('## DNS').matchAll(/(host|srv): '([^']+)'/g)];
    expect(names).toHaveLength(4);
    for (const [, kind = '', name = ''] of names) {
      const options = { name: 'math', [kind]: name };
      expect(() => new DnsDiscovery(options)).not.toThrow();
    }
  });
});
