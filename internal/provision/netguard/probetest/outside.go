package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	rulePriority = 90
	firstTable   = 21300
)

// outside plays the world around the host: a network namespace of its own, with the given addresses and ports, that only traffic from
// the given supernet is routed to, so that nothing else on the machine notices. It runs in a container with SYS_ADMIN and NET_ADMIN in the host's network:
//
//	outside <supernet> <link /30> <address,…> <tcp/443,udp/53,…> [dial <target>…]
func outside(ctx context.Context, args []string) error {
	runtime.LockOSThread() // never unlocked: the thread stays in the new namespace
	if len(args) < 4 {
		return fmt.Errorf("outside <supernet> <link> <addresses> <ports>")
	}
	_, supernet, err := net.ParseCIDR(args[0])
	if err != nil {
		return err
	}
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	world, err := netns.New()
	if err != nil {
		return err
	}
	link, err := connect(host, world, args[1])
	if err != nil {
		return err
	}
	remove, err := route(host, link, supernet, strings.Split(args[2], ","))
	defer remove()
	if err != nil {
		return err
	}
	for port := range strings.SplitSeq(args[3], ",") {
		for address := range strings.SplitSeq(args[2], ",") { // each by itself, or UDP would be answered from another one
			if err := listen(ctx, strings.Replace(port, "/", "/"+address+":", 1)); err != nil {
				return err
			}
		}
	}
	fmt.Println("listening")
	if len(args) > 5 {
		for _, target := range args[5:] { // one by one: only this thread is in the namespace
			fmt.Println(target, outcome(ctx, target))
		}
	}
	<-ctx.Done()
	return nil
}

// veth is one end on the host, the other in the world; both vanish with the world.
type veth struct {
	link  netlink.Link
	there net.IP // the far end
	inner *netlink.Handle
	far   netlink.Link
}

func connect(host *netlink.Handle, world netns.NsHandle, cidr string) (veth, error) {
	ip, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return veth{}, err
	}
	here, there := next(ip, 1), next(ip, 2)
	name := fmt.Sprintf("ot%x", []byte(ip.To4()))
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "out0", PeerNamespace: netlink.NsFd(world)}
	if err := host.LinkAdd(link); err != nil {
		return veth{}, fmt.Errorf("add veth: %w", err)
	}
	inner, err := netlink.NewHandleAt(world)
	if err != nil {
		return veth{}, err
	}
	v := veth{link: link, there: there, inner: inner}
	if err := raise(host, link, &net.IPNet{IP: here, Mask: network.Mask}); err != nil {
		return v, err
	}
	if v.far, err = inner.LinkByName("out0"); err != nil {
		return v, err
	}
	if err := raise(inner, v.far, &net.IPNet{IP: there, Mask: network.Mask}); err != nil {
		return v, err
	}
	return v, inner.RouteAdd(&netlink.Route{LinkIndex: v.far.Attrs().Index, Gw: here})
}

func raise(h *netlink.Handle, link netlink.Link, address *net.IPNet) error {
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: address}); err != nil {
		return fmt.Errorf("add address %v: %w", address, err)
	}
	return h.LinkSetUp(link)
}

// route leads the supernet's traffic for the addresses into the world, by a routing table that only it looks at.
func route(host *netlink.Handle, v veth, supernet *net.IPNet, addresses []string) (remove func(), err error) {
	table := firstTable + v.link.Attrs().Index
	rule := netlink.NewRule()
	rule.Priority, rule.Src, rule.Table = rulePriority, supernet, table
	remove = func() {
		_ = host.RuleDel(rule)
		_ = host.LinkDel(v.link)
	}
	if err := host.RuleAdd(rule); err != nil {
		return remove, fmt.Errorf("add rule: %w", err)
	}
	for _, text := range addresses {
		address := &net.IPNet{IP: net.ParseIP(text).To4(), Mask: net.CIDRMask(32, 32)}
		if err := v.inner.AddrAdd(v.far, &netlink.Addr{IPNet: address}); err != nil {
			return remove, fmt.Errorf("add address %s: %w", text, err)
		}
		err := host.RouteAdd(&netlink.Route{LinkIndex: v.link.Attrs().Index, Dst: address, Gw: v.there, Table: table})
		if err != nil {
			return remove, fmt.Errorf("add route to %s: %w", text, err)
		}
	}
	return remove, nil
}

func next(ip net.IP, n byte) net.IP {
	out := make(net.IP, net.IPv4len)
	copy(out, ip.To4())
	out[3] += n
	return out
}
