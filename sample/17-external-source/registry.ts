/** Where your nodes are, by your own means: a table in a database, a registry of your company. It can be away. */
export class Registry {
  isAway = false;
  asked = 0;
  private readonly places = new Map<string, { host: string; port: number }>();

  put(node: string, port: number): void {
    this.places.set(node, { host: '127.0.0.1', port });
  }

  async find(node: string): Promise<{ host: string; port: number }> {
    this.asked += 1;
    if (this.isAway) throw new Error('the registry does not answer.');
    const place = this.places.get(node);
    if (place === undefined) throw new Error(`${node} is not registered.`);
    return place;
  }
}
