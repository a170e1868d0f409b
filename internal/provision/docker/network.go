package docker

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// EnsureNetwork makes a bridge network of one fixed subnet, without IPv6 and with traffic between its containers off. One that is
// ours with another subnet or gateway is replaced, which the engine refuses while a container is attached.
func (r *Runtime) EnsureNetwork(ctx context.Context, n provision.Network) error {
	return r.call(ctx, quickCall, "ensure network "+n.Name, func(ctx context.Context) error {
		found, err := r.findNetwork(ctx, n.Name)
		if err != nil {
			return err
		}
		if found != nil {
			if sameNetwork(*found, n) {
				return nil
			}
			if _, err := r.api.NetworkRemove(ctx, found.ID, client.NetworkRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
				return replacing(n.Name, err)
			}
		}
		_, err = r.api.NetworkCreate(ctx, n.Name, networkSpec(n, r.labelled(n.Labels), r.bridgeName(n.Name)))
		if err == nil {
			return nil
		}
		// A twin of this process may have been faster.
		if found, findErr := r.findNetwork(ctx, n.Name); findErr == nil && found != nil && sameNetwork(*found, n) {
			return nil
		}
		return err
	})
}

// replacing tells a network that containers are on from other trouble.
func replacing(name string, err error) error {
	if cerrdefs.IsPermissionDenied(err) || cerrdefs.IsConflict(err) {
		return provision.ErrNetworkInUse.WithCause(fmt.Errorf("replace network %s: %w", name, err))
	}
	return fmt.Errorf("replace it, as its subnet differs: %w", err)
}

// RemoveNetwork removes the network; absence is success, attached containers are an error.
func (r *Runtime) RemoveNetwork(ctx context.Context, name string) error {
	return r.call(ctx, quickCall, "remove network "+name, func(ctx context.Context) error {
		found, err := r.findNetwork(ctx, name)
		if err != nil || found == nil {
			return err
		}
		_, err = r.api.NetworkRemove(ctx, found.ID, client.NetworkRemoveOptions{})
		return ignoreNotFound(err)
	})
}

// findNetwork returns the network of exactly this name, or nil. Errors: ErrForeign.
func (r *Runtime) findNetwork(ctx context.Context, name string) (*network.Inspect, error) {
	res, err := r.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if cerrdefs.IsNotFound(err) || (err == nil && res.Network.Name != name) { // the engine also takes the start of an id
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	if err != nil {
		return nil, err
	}
	return &res.Network, r.owned("network", name, res.Network.Labels)
}

func sameNetwork(have network.Inspect, want provision.Network) bool {
	return len(have.IPAM.Config) == 1 && have.IPAM.Config[0].Subnet == want.Subnet.Masked() && have.IPAM.Config[0].Gateway == want.Gateway
}

// networkSpec is pure; it is where the hardening of networks is fixed.
func networkSpec(n provision.Network, labels map[string]string, bridge string) client.NetworkCreateOptions {
	off := false
	return client.NetworkCreateOptions{
		Driver:     "bridge",
		EnableIPv6: &off,
		IPAM: &network.IPAM{
			Driver: "default",
			Config: []network.IPAMConfig{{Subnet: n.Subnet.Masked(), Gateway: n.Gateway}},
		},
		Options: map[string]string{
			"com.docker.network.bridge.name":                 bridge,
			"com.docker.network.bridge.enable_icc":           "false",
			"com.docker.network.bridge.enable_ip_masquerade": "true",
		},
		Labels: labels,
	}
}

// bridgePrefix begins the name of each bridge of ours, so that the firewall knows tenants' traffic by where it comes from, whatever
// source address it bears.
func (r *Runtime) bridgePrefix() string { return "oh" + digest(3, "bridge", r.installation) + "-" }

// bridgeName fits the kernel's 15 characters. The engine refuses a bridge name that is taken, so it also keeps two networks of one
// name from being made at once.
func (r *Runtime) bridgeName(network string) string {
	return r.bridgePrefix() + digest(9, r.installation, network)
}

func ignoreNotFound(err error) error {
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}
