#!/usr/bin/env bash
# Runs Node on lavapipe from Mesa 26, which has subgroup matrices (8×8×8), where the distribution's own Mesa is older.
#
#   test/adapters/subgroup-matrix.sh ARGUMENTS-OF-NODE…     such as dist/launch.js adapters
#   test/adapters/subgroup-matrix.sh --ready                is the folder there? makes nothing, only sets the exit code
#
# Mesa 26 is in Debian 13's backports and wants Debian 13's C library. Both come into a folder of the cache that is made once
# (half a minute, 500 MB) and deleted by hand; nothing else on the machine changes. Node is started through that folder's own
# dynamic loader, and so is every Node that it or its children start, by their own path or by name; all other programs run as ever.
#
# Needs, to make the folder: a Debian on x64 or arm64, root, debootstrap. To use it: the folder, readable.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${COGWHEEL_MESA26:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cogwheel/mesa26}

fail() {
  echo "[subgroup-matrix] $*" >&2
  exit 2
}

# The site that the machine itself gets Debian from.
debian_site() {
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' | sed -n 's/^Debian Debian //p' | head -n 1
}

# make_root SITE FOLDER
make_root() {
  set -e
  debootstrap --variant=minbase --include=ca-certificates trixie "$2" "$1"
  cp /etc/apt/apt.conf.d/* "$2/etc/apt/apt.conf.d/" 2>/dev/null || true # proxies
  echo "deb $1 trixie-backports main" >"$2/etc/apt/sources.list.d/backports.list"
  chroot "$2" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive chroot "$2" apt-get install -y -qq --no-install-recommends -t trixie-backports mesa-vulkan-drivers libvulkan1
  rm -rf "$2/var/cache/apt/archives" "$2/var/lib/apt/lists"
}

get_root() {
  local log=$root.log site apart=()
  [ "$(id -u)" = 0 ] || fail "root must make $root once, got user $(id -un); start this as root, or set XDG_CACHE_HOME to a cache that has it"
  command -v debootstrap >/dev/null && command -v apt-get >/dev/null || fail "debootstrap must be installed, got none; apt-get install debootstrap"
  mkdir -p "$(dirname "$root")"
  exec 9>"$root.lock"
  flock 9
  [ ! -d "$root" ] || return 0 # made while we waited
  site=$(debian_site)
  [ -n "$site" ] || { apt-get update -qq && site=$(debian_site); } || true
  [ -n "$site" ] || fail "apt must know a Debian mirror, got none in apt-get indextargets; run apt-get update on a Debian"
  echo "making $root (Debian 13 with Mesa from its backports; log in $log)" >&2
  # debootstrap mounts /proc inside. In a mount namespace of its own that goes with it however it ends, and nothing that deletes
  # the folder later can meet the machine's own /proc. Who may not make a namespace may not mount either.
  unshare --mount true 2>/dev/null && apart=(unshare --mount --propagation private)
  rm -rf --one-file-system "$root.partial"
  export -f make_root
  if ! "${apart[@]}" bash -c 'make_root "$@"' make_root "$site" "$root.partial" >"$log" 2>&1 9>&-; then
    rm -rf --one-file-system "$root.partial"
    fail "a Debian 13 root must be made, got the errors in $log: $(tail -n 1 "$log")"
  fi
  mv "$root.partial" "$root"
}

if [ "${1:-}" = --ready ]; then [ -d "$root" ]; exit; fi
[ -d "$root" ] || get_root
libraries=$root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.*)
manifest=$root/usr/share/vulkan/icd.d/lvp_icd.json
[ -x "$loader" ] && [ -r "$manifest" ] || fail "$root must hold a loader and lavapipe's manifest, got ${loader} and ${manifest}; delete the folder and start again"

# A child that Node starts "of itself" (process.execPath) or by name comes through here too, with the environment that its parent gave
# it, which may have another home.
if [ -z "${COGWHEEL_NODE:-}" ]; then
  export COGWHEEL_NODE=$here/subgroup-matrix.sh COGWHEEL_MESA26=$root
  PATH=${PATH//"$here/bin:"/}
  COGWHEEL_NODE_BINARY=$(readlink -f "$(command -v node)")
  export COGWHEEL_NODE_BINARY PATH=$here/bin:$PATH
  export NODE_OPTIONS="${NODE_OPTIONS:+$NODE_OPTIONS }--require \"$here/node-of-root.cjs\""
  export VK_DRIVER_FILES=$manifest COGWHEEL_ADAPTER=${COGWHEEL_ADAPTER:-lavapipe}
fi
exec "$loader" --argv0 node --library-path "${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries" "$COGWHEEL_NODE_BINARY" "$@"
