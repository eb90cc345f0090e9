#!/bin/sh
# Installs what this project needs and the machine lacks: Debian packages (apt) and npm packages, Node 24 among them.
# Usage: scripts/setup.sh [--demo | --test | --bench | --build]   Says what it installs; installs nothing that is there.
set -eu
cd "$(dirname "$0")/.."
purpose="${1:---build}"

missing=""
need_command() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need_file() { for file in $1; do [ -e "$file" ] && return; done; missing="$missing $2"; }

need_command clang clang
need_file "/usr/include/linux/bpf.h" linux-libc-dev
if [ "$purpose" != "--build" ]; then
  need_command containerd containerd
  need_command runc runc
  need_command docker docker.io
  need_command busybox busybox-static
  need_command nsenter util-linux
  need_file "/usr/lib/*/libnftables.so.1" libnftables1
  need_file "/etc/ssl/certs/ca-certificates.crt" ca-certificates
fi
if [ "$purpose" = "--bench" ]; then
  need_command dockerd docker.io
  need_command iptables iptables
  need_command ip iproute2
  need_command gcc gcc
  need_file /usr/include/stdio.h libc6-dev
fi
if [ "$purpose" = "--test" ]; then
  need_command dockerd docker.io
  need_command tcpdump tcpdump
  need_command ip iproute2
  need_command iptables iptables
  need_command nft nftables
  need_command openssl openssl
  need_command dig bind9-dnsutils
  need_command nginx nginx
  need_command redis-server redis-server
  need_command beanstalkd beanstalkd
fi
missing="$(printf '%s\n' $missing | sort -u | tr '\n' ' ')"
if [ -n "$(printf '%s' "$missing" | tr -d ' ')" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "skein setup: missing Debian packages: $missing" >&2
    echo "skein setup: install them as root with: apt-get install --no-install-recommends $missing" >&2
    exit 1
  fi
  echo "skein setup: installing Debian packages: $missing"
  apt-get update -qq
  # policy-rc.d keeps the packages from starting daemons: Skein starts its own and dockerd would take the networks.
  policy=/usr/sbin/policy-rc.d
  made_policy=""
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    made_policy=yes
  fi
  status=0
  # shellcheck disable=SC2086 # a list of package names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || status=$?
  [ -z "$made_policy" ] || rm -f "$policy"
  [ "$status" = 0 ] || exit "$status"
fi

lock="$(sha256sum package-lock.json | cut -d' ' -f1)"
if [ ! -x node_modules/.bin/node ] || [ "$(cat node_modules/.skein-lock 2>/dev/null || true)" != "$lock" ]; then
  echo "skein setup: installing npm packages (Node 24 LTS among them)"
  npm ci --ignore-scripts --no-audit --no-fund
  printf '%s\n' "$lock" >node_modules/.skein-lock
fi
echo "skein setup: ready (node $(node_modules/.bin/node --version))"
