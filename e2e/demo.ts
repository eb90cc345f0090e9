/**
 * `npm run demo`: the story on two hosts in namespaces, each command with its real output, then the way of one ping with
 * the frames as they were captured on it.
 */
import { playStory, type Step, type Story } from './story.ts';
import { Capture } from './support/capture.ts';
import { Cluster } from './support/cluster.ts';
import { describeFrame, type Frame } from './support/frames.ts';
import { startOutsideServer } from './support/outside.ts';

const bold = (text: string): string => (process.stdout.isTTY ? `\x1b[1m${text}\x1b[0m` : text);

function printStep({ host, words, stdout, stderr }: Step): void {
  const command = words.map((word) => (/[\s{}*$]/.test(word) ? `'${word}'` : word)).join(' ');
  console.log(`${bold(`${host}$ ${command}`)}\n${stdout}${stderr}`);
}

/** Where one ping is watched: interface and namespace, in the order of its way. */
interface Place {
  readonly title: string;
  readonly namespace: string;
  readonly link: string;
}

function places(cluster: Cluster, story: Story): Place[] {
  const network = cluster.must('node1', 'docker network ls -q --no-trunc --filter name=uber-net').trim();
  return (['node1', 'node2'] as const).flatMap((node) => {
    const holder = cluster.lab.host(node).holder;
    const pid = cluster.must(node, ['docker', 'inspect', '--format', '{{.State.Pid}}', story.containers[node]]).trim();
    const sandbox = `/proc/${holder}/root/run/skein/netns/1-${network.slice(0, 10)}`;
    const way = [
      { title: `${node}: container's veth (eth0)`, namespace: `/proc/${pid}/ns/net`, link: 'eth0' },
      { title: `${node}: bridge br0 in the network's sandbox`, namespace: sandbox, link: 'br0' },
      { title: `${node}: VTEP vxlan0 in the network's sandbox`, namespace: sandbox, link: 'vxlan0' },
      { title: `${node}: underlay (eth0 of the host)`, namespace: `/proc/${holder}/ns/net`, link: 'eth0' },
    ];
    return node === 'node1' ? way : way.reverse();
  });
}

function isPing(frame: Frame): boolean {
  return (frame.vxlan?.inner ?? frame).icmp !== undefined;
}

async function showOnePing(cluster: Cluster, story: Story): Promise<void> {
  console.log(bold('The way of one ping, as captured:'));
  console.log('c1 — veth — br0 — vxlan0 (VTEP) ══ UDP 4789 over the underlay ══ vxlan0 (VTEP) — br0 — veth — c2\n');
  const watched = places(cluster, story);
  const captures = watched.map((place) => Capture.start(place.namespace, place.link));
  cluster.must('node1', ['docker', 'exec', story.containers.node1, 'ping', '-c', '1', story.addresses.node2]);
  for (const [index, place] of watched.entries()) {
    const frames = (await captures[index]?.stop()) ?? [];
    console.log(place.title);
    for (const frame of frames.filter(isPing)) console.log(`    ${describeFrame(frame)}`);
  }
  console.log();
}

console.log(
  bold('Two hosts, node1 (172.31.1.5) and node2 (172.31.1.6), in namespaces of this machine, a skeind in each.'),
);
console.log('No registry answers here: the image "ubuntu" is made from Debian\'s busybox.\n');
await using cluster = await Cluster.start('demo', 2);
await startOutsideServer(cluster);
const story = await playStory(cluster, 'docker', printStep);
await showOnePing(cluster, story);
for (const words of ['service rm test', 'network rm uber-net', 'network ls']) {
  if (words.startsWith('network rm')) await cluster.untilGone('test');
  const step = { host: 'node1', words: ['docker', ...words.split(' ')], ...cluster.run('node1', `docker ${words}`) };
  printStep(step);
  if (step.exitCode !== 0) throw new Error(`${step.words.join(' ')} failed`);
}
console.log('The lab is taken down again. Your own: packages/skein/bin/skein lab up');
