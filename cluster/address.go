package cluster

import (
	"fmt"
	"net"
	"strings"

	"github.com/hashicorp/raft"
)

// serverID is a node's name in a Raft configuration: "name/uuid". Old and new identity of a replaced node
// stand side by side in it.
func serverID(name, uuid string) raft.ServerID { return raft.ServerID(name + "/" + uuid) }

func splitServerID(id raft.ServerID) (name, uuid string) {
	name, uuid, _ = strings.Cut(string(id), "/")
	return name, uuid
}

// target is whom a connection is meant for. As a Raft address it reads "uuid.cluster@host:port", so that
// Raft, which knows addresses only, dials identities.
type target struct {
	UUID     string
	Cluster  string
	HostPort string
}

func (t target) address() raft.ServerAddress {
	return raft.ServerAddress(t.UUID + "." + t.Cluster + "@" + t.HostPort)
}

func parseAddress(address raft.ServerAddress) (target, error) {
	who, where, ok := strings.Cut(string(address), "@")
	uuid, cluster, ok2 := strings.Cut(who, ".")
	if !ok || !ok2 || uuid == "" {
		return target{}, fmt.Errorf("raft address %q: want uuid.cluster@host:port", address)
	}
	return target{UUID: uuid, Cluster: cluster, HostPort: where}, nil
}

// checkUUID refuses what an address could not be taken apart again with.
func checkUUID(uuid string) error {
	if uuid == "" || strings.ContainsAny(uuid, "/.@") {
		return fmt.Errorf("node UUID %q: want one without slash, dot and at sign", uuid)
	}
	return nil
}

// checkAddress refuses what no other node could dial.
func checkAddress(what, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q: want host:port: %w", what, address, err)
	}
	if port == "" || port == "0" {
		return fmt.Errorf("%s %q: the port is missing", what, address)
	}
	if unspecified(host) {
		return fmt.Errorf("%s %q: other nodes cannot dial an unspecified address; set cluster.advertise_address to one they can", what, address)
	}
	return nil
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || (ip != nil && ip.IsUnspecified())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
