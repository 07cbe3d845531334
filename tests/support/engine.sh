# Runs dockerd in a mount namespace of its own. Arguments: START ROOT DIRECTORY CONFIGURATION VARIANT.
# START is `fresh` in a namespace that nobody has used yet; `again` in that of the same engine, which has ended;
# `takeover` in a copy of that of another engine of the machine's own root, whose containers live on.
# ROOT is empty for the machine's own engine, or a directory with an unpacked system that holds another one.
# DIRECTORY is the laboratory's; it has the same path inside a ROOT as outside.
# VARIANT is empty, `nft` or `legacy`: the iptables commands that dockerd finds.
start=$1 root=$2 directory=$3 configuration=$4 variant=$5

if [ "$start" != again ] && [ -n "$root" ]; then
    # Above the unpacked system lies a layer of our own, so that it stays as it was unpacked.
    mkdir -p "$directory/root" "$directory/layer"
    mount -t tmpfs -o mode=0755 dockgate-lab "$directory/layer"
    mkdir "$directory/layer/upper" "$directory/layer/work"
    mount -t overlay -o "lowerdir=$root,upperdir=$directory/layer/upper,workdir=$directory/layer/work" \
        dockgate-lab "$directory/root"
    new=$directory/root
    mkdir -p "$new$directory" "$new/run/containerd" "$new/.old"
    # With the mounts of containers that live on, if there are any.
    mount --rbind "$directory" "$new$directory"
    if [ "$start" = takeover ]; then
        # The sockets of their shims.
        mount --bind /run/containerd "$new/run/containerd"
    fi
    for tree in /proc /sys /dev; do
        mount --rbind "$tree" "$new$tree"
        mount --make-rslave "$new$tree"
    done
    # A plain chroot does not do: containerd looks its mounts up in /proc/self/mountinfo.
    cd "$new"
    pivot_root . .old
    umount -l /.old
    cd /
fi

if [ "$start" = fresh ]; then
    # Another containerd on the machine would be used by dockerd, and ours would leave its sockets behind.
    mkdir -p /run/containerd
    mount -t tmpfs -o mode=0711 dockgate-lab /run/containerd
fi

if [ -n "$variant" ]; then
    mkdir -p "$directory/bin"
    for command in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -sf "/usr/sbin/xtables-$variant-multi" "$directory/bin/$command"
    done
    PATH=$directory/bin:$PATH
fi

exec dockerd --config-file "$configuration"
