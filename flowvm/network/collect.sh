#!/bin/sh
# Gathers what flowvm reads of a node that runs Open vSwitch. Run it there, as root:
#
#     sh collect.sh [DIRECTORY]
#
# It changes nothing on the node. What the commands print goes to DIRECTORY (flowvm-HOST, unless
# said otherwise), and that is packed into DIRECTORY.tar.gz. Each file is named as its command, with
# "_" for blanks and "." for "/"; of a command that fails it holds what the command complained of.

set -u
umask 077
directory=${1:-flowvm-$(hostname -s 2>/dev/null || uname -n)}
mkdir "$directory" || exit 1

# As much of a name as a file's name can have.
safe() {
    printf '%s' "$1" | tr -c 'A-Za-z0-9_.-' '_'
}

# keep FILE COMMAND...: add what the command prints to the file; if it fails, what it complains of.
keep() {
    kept=$directory/$1
    shift
    if "$@" >>"$kept" 2>"$kept.complaint"; then
        status=0
    else
        status=1
        cat "$kept.complaint" >>"$kept"
    fi
    rm -f "$kept.complaint"
    return $status
}

keep ovs-vsctl_show ovs-vsctl -t 60 show
for table in Open_vSwitch Bridge Port Interface Mirror; do
    keep "ovs-vsctl_list_$table" ovs-vsctl -t 60 list "$table"
done

ovs-vsctl -t 60 list-br | while IFS= read -r bridge; do
    name=$(safe "$bridge")
    # OpenFlow 1.5 tells all there is; the lower the version, the more a dump leaves out.
    for number in 15 14 13 12 11 10; do
        protocol=OpenFlow$number
        flows=ovs-ofctl_-O_${protocol}_dump-flows_$name
        if keep "$flows" ovs-ofctl -t 600 -O "$protocol" dump-flows "$bridge"; then
            for command in show dump-groups dump-group-stats dump-meters dump-tlv-map; do
                keep "ovs-ofctl_-O_${protocol}_${command}_$name" \
                    ovs-ofctl -t 600 -O "$protocol" "$command" "$bridge"
            done
            break
        fi
    done
    keep "ovs-appctl_fdb.show_$name" ovs-appctl fdb/show "$bridge"
done
keep ovs-appctl_dpif.show ovs-appctl dpif/show

ovs-appctl dpctl/dump-dps | while IFS= read -r datapath; do
    keep ovs-appctl_dpctl.dump-conntrack_-s ovs-appctl dpctl/dump-conntrack -s "$datapath"
done

keep ip_addr ip addr
keep ip_netns ip netns
ip netns | cut -d ' ' -f 1 | while IFS= read -r namespace; do
    keep "ip_netns_exec_$(safe "$namespace")_ip_addr" ip netns exec "$namespace" ip addr
done
keep bridge_link bridge link
if command -v brctl >/dev/null 2>&1; then
    keep brctl_show brctl show
fi

tar -czf "$directory.tar.gz" -C "$(dirname "$directory")" "$(basename "$directory")" &&
    echo "$directory.tar.gz"
