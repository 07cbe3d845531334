# Runs dockerd in the mount namespace that this shell is alone in. Arguments: ROOT DIRECTORY CONFIGURATION.
# ROOT is empty for the machine's own engine, or a directory with an unpacked system that holds another one.
# DIRECTORY is the laboratory's; it has the same path inside a ROOT as outside.
root=$1 directory=$2 configuration=$3

if [ -n "$root" ]; then
    # Above the unpacked system lies a layer of our own, so that it stays as it was unpacked.
    mkdir -p "$directory/root" "$directory/layer"
    mount -t tmpfs -o mode=0755 dockgate-lab "$directory/layer"
    mkdir "$directory/layer/upper" "$directory/layer/work"
    mount -t overlay -o "lowerdir=$root,upperdir=$directory/layer/upper,workdir=$directory/layer/work" \
        dockgate-lab "$directory/root"
    new=$directory/root
    mkdir -p "$new$directory" "$new/.old"
    mount --bind "$directory" "$new$directory"
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

# Another containerd on the machine would be used by dockerd, and ours would leave its sockets behind.
mkdir -p /run/containerd
mount -t tmpfs -o mode=0711 dockgate-lab /run/containerd

exec dockerd --config-file "$configuration"
