package audit

import (
	"reflect"
	"strings"
)

// Diff returns what differs between before and after as a Detail: each name with what it was and what it is. Of names that look like
// a secret's it only tells that they have changed.
func Diff(before, after map[string]any) map[string]any {
	detail := map[string]any{}
	for name, is := range after {
		was := before[name]
		if reflect.DeepEqual(was, is) {
			continue
		}
		if looksSecret(name) {
			detail[name] = "changed"
			continue
		}
		detail[name] = []any{was, is}
	}
	return detail
}

func looksSecret(name string) bool {
	lower := strings.ToLower(name)
	for _, word := range []string{"password", "secret", "token", "key", "hash"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
