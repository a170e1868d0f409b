package netguard

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// priority puts our chains before the engine's (0): a drop is final wherever it is said, an accept only ends our own chain.
const priority = -10

// kernel is the nftables of one network namespace.
type kernel struct{ conn *nftables.Conn }

// apply replaces the table by chains in one transaction of the kernel's: at no moment is there less than one whole set of rules.
func (k kernel) apply(table string, chains []chain) error {
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	k.conn.AddTable(t) // deleting needs it to exist
	k.conn.DelTable(t)
	k.conn.AddTable(t)
	for _, c := range chains {
		added := k.conn.AddChain(kernelChain(t, c))
		for i, r := range c.rules {
			k.conn.AddRule(&nftables.Rule{Table: t, Chain: added, Exprs: r.exprs(), UserData: mark(chains, i, r)})
		}
	}
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("apply rules: %w", err)
	}
	return nil
}

func kernelChain(t *nftables.Table, c chain) *nftables.Chain {
	out := &nftables.Chain{Name: c.name, Table: t}
	if c.hook == noHook {
		return out
	}
	policy := nftables.ChainPolicyAccept
	out.Type = nftables.ChainTypeFilter
	out.Hooknum = nftables.ChainHookInput
	if c.hook == forwardHook {
		out.Hooknum = nftables.ChainHookForward
	}
	out.Priority = nftables.ChainPriorityRef(priority)
	out.Policy = &policy
	return out
}

// mark is the comment by which a rule of ours is recognised: the set that it belongs to, its place and its text.
func mark(chains []chain, place int, r rule) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("%s %d %.90s", fingerprint(chains), place, r))
}

// holds reports whether the kernel's table is exactly chains.
func (k kernel) holds(table string, chains []chain) (bool, error) {
	all, err := k.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list chains: %w", err)
	}
	found := map[string]*nftables.Chain{}
	for _, c := range all {
		if c.Table.Name == table {
			found[c.Name] = c
		}
	}
	if len(found) != len(chains) {
		return false, nil
	}
	for _, want := range chains {
		have := found[want.name]
		if have == nil || !sameHook(have, kernelChain(have.Table, want)) {
			return false, nil
		}
		rules, err := k.conn.GetRules(have.Table, have)
		if err != nil {
			return false, fmt.Errorf("list rules of %s: %w", want.name, err)
		}
		for i, r := range want.rules {
			if len(rules) != len(want.rules) || !slices.Equal(rules[i].UserData, mark(chains, i, r)) {
				return false, nil
			}
		}
	}
	return true, nil
}

func sameHook(have, want *nftables.Chain) bool {
	if want.Hooknum == nil {
		return have.Hooknum == nil
	}
	return have.Hooknum != nil && *have.Hooknum == *want.Hooknum && have.Priority != nil && *have.Priority == *want.Priority &&
		have.Policy != nil && *have.Policy == *want.Policy
}

// remove takes the table out; absence is success.
func (k kernel) remove(table string) error {
	k.conn.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	if err := k.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	return nil
}
