/** A network of several hosts: each a network namespace, whose cable ends at a switch that tests may take apart. */
import { INTERFACE, nextNamespaces, removeNamespace } from '../support/net-namespace.js';
import { batch, NetPort } from '../support/net-port.js';

export type Family = 4 | 6;

/** The switch, and the one that hosts are moved to which are to be apart from the others. */
const [SWITCH, OTHER_SWITCH] = ['lan0', 'lan1'];

/** What a kernel must be able to do, as `describeOnNetworks` wants it. */
export const LAN_NEEDS: readonly string[] = [
  `ip -n NAMESPACE link add ${SWITCH} type bridge`,
  `ip -n NAMESPACE link set ${INTERFACE} master ${SWITCH} gso_max_segs 1`,
  `tc -n NAMESPACE qdisc replace dev ${INTERFACE} root handle 1: htb`,
  `tc -n NAMESPACE filter add dev ${INTERFACE} parent 1: protocol ip u32 match u8 0 1 at 0 flowid 1:1`,
];

export const IPV6_NEEDS: readonly string[] = [`ip -n NAMESPACE -6 address add fd77::1/64 dev ${INTERFACE} nodad`];

/** A host has an address, and one that it may move to. */
function addressOf(family: Family, host: number, move: number): string {
  return family === 4 ? `10.77.${move}.${host + 1}` : `fd77:0:0:${move + 1}::${(host + 1).toString(16)}`;
}

function hex(number: number): string {
  return number.toString(16).padStart(2, '0');
}

const macOf = (host: number): string => `02:00:00:00:00:${hex(host + 1)}`;
const prefixOf = (family: Family): number => (family === 4 ? 16 : 48);
const MOVES = [0, 1];

/** A machine of its own, as far as the network goes. */
export class Host {
  /** Its own end of its cable. */
  readonly port: NetPort;
  /** The other end, in the switch. */
  readonly plug: NetPort;
  private moves = 0;

  constructor(
    lan: string,
    readonly number: number,
    readonly family: Family,
  ) {
    this.port = new NetPort(`${lan}-h${number}`, INTERFACE);
    this.plug = new NetPort(`${lan}-switch`, `h${number}`);
  }

  get namespace(): string {
    return this.port.name;
  }

  get address(): string {
    return addressOf(this.family, this.number, this.moves);
  }

  /** Gives it another address instead of the one it has. */
  async move(): Promise<void> {
    const before = this.has(this.address, 'del');
    this.moves = (this.moves + 1) % MOVES.length;
    await batch('ip', [before, this.has(this.address)], this.namespace);
  }

  cableTo(namespace: string): string {
    const near = `${INTERFACE} address ${macOf(this.number)} netns ${this.namespace}`;
    return `link add ${near} type veth peer name ${this.plug.device} netns ${namespace}`;
  }

  /** What makes a host of a namespace. */
  setup(hosts: number): string[] {
    const others = Array.from({ length: hosts }, (_, other) => other).filter((other) => other !== this.number);
    return [
      'link set lo up',
      // Packets on the cable are as they would be on a real one, not put together from forty.
      `link set ${INTERFACE} gso_max_segs 1 up`,
      this.has(this.address),
      // For good: else a one-way break would become one of both ways, as soon as nobody answers who has which address.
      ...others.flatMap((other) => MOVES.map((move) => this.knows(addressOf(this.family, other, move), macOf(other)))),
    ];
  }

  private has(address: string, verb: 'add' | 'del' = 'add'): string {
    const nodad = this.family === 6 && verb === 'add' ? ' nodad' : '';
    return `address ${verb} ${address}/${prefixOf(this.family)} dev ${INTERFACE}${nodad}`;
  }

  private knows(address: string, mac: string): string {
    return `neigh replace ${address} lladdr ${mac} dev ${INTERFACE} nud permanent`;
  }
}

export class Lan {
  readonly hosts: readonly Host[];
  private readonly name = nextNamespaces();
  /** What undoes the breaks there are, the latest first. */
  private readonly repairs: (() => Promise<void>)[] = [];

  private constructor(count: number, family: Family) {
    this.hosts = Array.from({ length: count }, (_, number) => new Host(this.name, number, family));
  }

  static async create(count: number, family: Family): Promise<Lan> {
    const lan = new Lan(count, family);
    try {
      await lan.setup();
    } catch (error) {
      await lan[Symbol.asyncDispose]();
      throw error;
    }
    return lan;
  }

  private get switch(): string {
    return `${this.name}-switch`;
  }

  /** The host's cable is pulled out of the switch: the host sees that it has no carrier. */
  unplug({ plug }: Host): Promise<void> {
    return this.broken([() => plug.down()], [() => plug.up()]);
  }

  /** Packets from and to the host vanish, and nobody is told. */
  swallow({ plug }: Host): Promise<void> {
    return this.broken([() => this.wire(plug)], [() => this.wire(plug, SWITCH)]);
  }

  /** These hosts reach each other, all others do too, and nobody anyone beyond. */
  divide(hosts: readonly Host[]): Promise<void> {
    return this.broken(
      hosts.map(
        ({ plug }) =>
          () =>
            this.wire(plug, OTHER_SWITCH),
      ),
      hosts.map(
        ({ plug }) =>
          () =>
            this.wire(plug, SWITCH),
      ),
    );
  }

  /** What the host sends is lost, or what is sent to it. */
  loseOneWay({ port, plug }: Host, way: 'from' | 'to'): Promise<void> {
    const end = way === 'from' ? port : plug;
    return this.broken([() => end.loseOutgoing()], [() => end.freeOutgoing()]);
  }

  /** Some packets are lost, of both ways. */
  loseSome({ port, plug }: Host): Promise<void> {
    return this.broken([() => port.loseSome(), () => plug.loseSome()], freeing(port, plug));
  }

  /** Packets that were sent to and from the host while `loseSome` held, and how many of them were lost. */
  async packets({ port, plug }: Host): Promise<{ sent: number; lost: number }> {
    const [from, to] = await Promise.all([port.packets(), plug.packets()]);
    return { sent: from.sent + to.sent + from.lost + to.lost, lost: from.lost + to.lost };
  }

  /** Both ways. */
  limit({ port, plug }: Host, megabits: number): Promise<void> {
    const limits = [port, plug].map((end) => () => end.limitOutgoing(megabits));
    return this.broken(limits, freeing(port, plug));
  }

  /** As it was before everything above. */
  async repair(): Promise<void> {
    for (const repair of this.repairs.splice(0).reverse()) await repair();
  }

  /** The host loses its power: nothing of it is left, neither what `kill` ends nor its system, and no packet says so. */
  async lose({ namespace, plug }: Host, kill: () => Promise<void>): Promise<void> {
    await batch('ip', [`link del ${plug.device}`], plug.name);
    await kill();
    await removeNamespace(namespace);
  }

  /** It has power again: a system that knows of nothing. */
  async restart(host: Host): Promise<void> {
    await this.plugIn([host]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.switch, ...this.hosts.map(({ namespace }) => namespace)].map(removeNamespace));
  }

  private async setup(): Promise<void> {
    const switches = [SWITCH, OTHER_SWITCH].map((name) => `link add ${name} up type bridge mcast_snooping 0`);
    await batch('ip', [`netns add ${this.switch}`]);
    await batch('ip', switches, this.switch);
    await this.plugIn(this.hosts);
  }

  private async plugIn(hosts: readonly Host[]): Promise<void> {
    await batch('ip', [
      ...hosts.map(({ namespace }) => `netns add ${namespace}`),
      ...hosts.map((host) => host.cableTo(this.switch)),
    ]);
    const plugs = hosts.map(({ plug }) => `link set ${plug.device} master ${SWITCH} gso_max_segs 1 up`);
    await batch('ip', plugs, this.switch);
    await Promise.all(hosts.map((host) => batch('ip', host.setup(this.hosts.length), host.namespace)));
  }

  /** Without `to`, the cable ends nowhere, but has its carrier. */
  private wire({ name, device }: NetPort, to?: string): Promise<void> {
    return batch('ip', [`link set ${device} ${to === undefined ? 'nomaster' : `master ${to}`}`], name);
  }

  private async broken(breaks: (() => Promise<void>)[], repairs: (() => Promise<void>)[]): Promise<void> {
    this.repairs.push(...repairs);
    await Promise.all(breaks.map((one) => one()));
  }
}

function freeing(...ends: readonly NetPort[]): (() => Promise<void>)[] {
  return ends.map((end) => () => end.freeOutgoing());
}
