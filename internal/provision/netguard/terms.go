package netguard

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// term is one part of a rule: how nft writes it, and what the kernel is told.
type term struct {
	text  string
	exprs func() []expr.Any
}

// rule is matched from left to right.
type rule []term

// String is the rule as nft writes it.
func (r rule) String() string {
	words := make([]string, 0, len(r))
	for _, t := range r {
		words = append(words, t.text)
	}
	return strings.Join(words, " ")
}

func (r rule) exprs() []expr.Any {
	var out []expr.Any
	for _, t := range r {
		out = append(out, t.exprs()...)
	}
	return out
}

const (
	sourceOffset      = 12 // in the IPv4 header
	destinationOffset = 16
	portOffset        = 2 // of the destination port in the TCP and UDP headers
	register          = 1
)

//nolint:gochecknoglobals // terms without arguments: constants, but for the language
var (
	accept      = verdict(expr.VerdictAccept, "", "accept")
	drop        = verdict(expr.VerdictDrop, "", "drop")
	counted     = term{"counter", func() []expr.Any { return []expr.Any{&expr.Counter{}} }}
	rejectTCP   = reject("reject with tcp reset", unix.NFT_REJECT_TCP_RST, 0)
	rejectUDP   = reject("reject with icmpx port-unreachable", unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH)
	notLoopback = term{`iifname != "lo"`, func() []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte("lo\x00")},
		}
	}}
	established = term{"ct state established,related", func() []expr.Any {
		return []expr.Any{
			&expr.Ct{Register: register, Key: expr.CtKeySTATE},
			&expr.Bitwise{
				SourceRegister: register, DestRegister: register, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
				Xor:  binaryutil.NativeEndian.PutUint32(0),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte{0, 0, 0, 0}},
		}
	}}
)

func verdict(kind expr.VerdictKind, target, text string) term {
	return term{text, func() []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind, Chain: target}} }}
}

func jump(target string) term { return verdict(expr.VerdictJump, target, "jump "+target) }

func reject(text string, kind uint32, code uint8) term {
	return term{text, func() []expr.Any { return []expr.Any{&expr.Reject{Type: kind, Code: code}} }}
}

// fromBridge matches the start of the incoming interface's name.
func fromBridge(prefix string) term {
	return term{fmt.Sprintf("iifname %q", prefix+"*"), func() []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte(prefix)},
		}
	}}
}

func saddr(p netip.Prefix) term { return address("ip saddr ", sourceOffset, p) }

func daddr(p netip.Prefix) term { return address("ip daddr ", destinationOffset, p) }

func address(text string, offset uint32, p netip.Prefix) term {
	return term{text + p.Masked().String(), func() []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.NFPROTO_IPV4}},
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
			&expr.Bitwise{
				SourceRegister: register, DestRegister: register, Len: 4,
				Mask: net.CIDRMask(p.Bits(), 32), Xor: []byte{0, 0, 0, 0},
			},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: p.Masked().Addr().AsSlice()},
		}
	}}
}

// hostPart matches the last bits of the source.
func hostPart(p HostPart) term {
	return term{fmt.Sprintf("ip saddr & %s == %s", p.Mask, p.Value), func() []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.NFPROTO_IPV4}},
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: p.Mask.AsSlice(), Xor: []byte{0, 0, 0, 0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: p.Value.AsSlice()},
		}
	}}
}

// l4 matches "tcp" or "udp".
func l4(protocol string) term {
	number := byte(unix.IPPROTO_TCP)
	if protocol == "udp" {
		number = unix.IPPROTO_UDP
	}
	return term{"meta l4proto " + protocol, func() []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{number}},
		}
	}}
}

// dport matches the destination port of a rule that has matched l4 before.
func dport(port uint16) term {
	return term{fmt.Sprintf("th dport %d", port), func() []expr.Any {
		return []expr.Any{
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
		}
	}}
}
