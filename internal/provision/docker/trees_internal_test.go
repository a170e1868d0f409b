package docker

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTreesForgetTheOldestFirst(t *testing.T) {
	t.Parallel()
	var kept trees
	const each = treesSize / 4
	for i := range 6 {
		kept.put(fmt.Sprint(i), make([]byte, each))
	}
	kept.put("5", nil) // is there already
	require.Equal(t, []string{"2", "3", "4", "5"}, kept.order)
	require.Len(t, kept.kept, 4)
	require.Len(t, kept.kept["5"], each)
	require.Equal(t, 4*each, kept.size)
}

func TestKeeperKeepsWhatWasReadWhole(t *testing.T) {
	t.Parallel()
	keep := func(content []byte, read int64) []byte {
		var got []byte
		k := &keeper{source: io.NopCloser(bytes.NewReader(content)), done: func(b []byte) { got = b }}
		_, err := io.CopyN(io.Discard, k, read)
		require.NoError(t, err)
		require.NoError(t, k.Close())
		return got
	}
	small := []byte(strings.Repeat("x", 5000))
	require.Equal(t, small, keep(small, 5000), "read to its end")
	require.Equal(t, small, keep(small, 4000), "the padding after the archive is read too")
	require.Nil(t, keep(make([]byte, treeSize+1), treeSize+1), "too large")
	require.Nil(t, keep(make([]byte, 3*treeSize), 10), "too large, and given up early")
}
