package provision

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/notices"
	"controlplane/internal/tenants"
)

const limitForTests = 10 << 30

func diskAt(at time.Time, bytes int64) tenants.Disk {
	return tenants.Disk{DatabaseBytes: bytes / 2, FilestoreBytes: bytes - bytes/2, MeasuredAt: at}
}

func TestQuota_TellsEachCrossingOnce(t *testing.T) {
	t.Parallel()
	const percent = limitForTests / 100
	q := quota{grace: time.Hour, overPercent: 120}
	active := tenants.Tenant{State: tenants.Active, Desired: tenants.WantsActive}
	tests := map[string]struct {
		told     int
		bytes    int64
		want     int
		wantTell []notices.Kind
	}{
		"little":                   {0, 1, 0, nil},
		"just below 80":            {0, limitForTests*8/10 - 1, 0, nil},
		"80":                       {0, limitForTests * 8 / 10, 80, []notices.Kind{NoticeDiskWarning}},
		"80 again":                 {80, limitForTests * 8 / 10, 80, nil},
		"a little below 80":        {80, 76 * percent, 80, nil},
		"clearly below 80":         {80, 74 * percent, 0, nil},
		"just below 100":           {80, limitForTests - 1, 80, nil},
		"100":                      {80, limitForTests, 100, []notices.Kind{NoticeDiskFull}},
		"from nothing to 100":      {0, limitForTests, 100, []notices.Kind{NoticeDiskFull}},
		"100 again":                {100, limitForTests, 100, nil},
		"a little below 100":       {100, 96 * percent, 100, nil},
		"clearly below 100":        {100, 94 * percent, 80, nil},
		"from 100 to a little":     {100, 76 * percent, 80, nil},
		"from 100 to nearly none":  {100, percent, 0, nil},
		"between, after 100 is 80": {80, 94 * percent, 80, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := q.judge(active, tenants.Disk{ToldPercent: tt.told}, diskAt(time.Now(), tt.bytes), limitForTests)
			require.Equal(t, tt.want, v.disk.ToldPercent)
			require.Equal(t, tt.wantTell, v.tell)
			require.False(t, v.suspend || v.resume)
			require.Nil(t, v.disk.OverSince)
		})
	}
}

func TestQuota_SuspendsAfterItsTime(t *testing.T) {
	t.Parallel()
	const grace = 14 * 24 * time.Hour
	q := quota{grace: grace, overPercent: 120}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time {
		at := now.Add(-d)
		return &at
	}
	active := tenants.Tenant{State: tenants.Active, Desired: tenants.WantsActive}
	stopped := tenants.Tenant{State: tenants.Suspended, Desired: tenants.WantsSuspended, SuspendedBy: tenants.ByQuota}
	unpaid := func(disk string) tenants.Tenant {
		return tenants.Tenant{State: tenants.Suspended, Desired: tenants.WantsSuspended, SuspendedBy: tenants.ByBilling, AlsoOverQuota: disk}
	}
	const mark, above = limitForTests * 12 / 10, limitForTests*12/10 + 1
	tests := map[string]struct {
		tenant  tenants.Tenant
		since   *time.Time
		bytes   int64
		want    *time.Time
		tell    []notices.Kind
		suspend bool
		resume  bool
	}{
		"at the mark":               {active, nil, mark, nil, nil, false, false},
		"above it":                  {active, nil, above, &now, []notices.Kind{NoticeDiskOver}, false, false},
		"still above":               {active, ago(grace - 1), above, ago(grace - 1), nil, false, false},
		"for too long":              {active, ago(grace), above, nil, []notices.Kind{NoticeDiskSuspended}, true, false},
		"asleep for too long":       {tenants.Tenant{State: tenants.Sleeping, Desired: tenants.WantsActive}, ago(grace), above, nil, []notices.Kind{NoticeDiskSuspended}, true, false},
		"back in time":              {active, ago(grace), mark, nil, nil, false, false},
		"suspended by its owner":    {tenants.Tenant{State: tenants.Suspended, Desired: tenants.WantsSuspended, SuspendedBy: tenants.ByOwner}, ago(grace), above, ago(grace), nil, false, false},
		"being suspended by others": {tenants.Tenant{State: tenants.Active, Desired: tenants.WantsSuspended, SuspendedBy: tenants.ByAdmin}, ago(grace), above, nil, []notices.Kind{NoticeDiskSuspended}, true, false},
		"unpaid, and above it":      {unpaid(""), ago(grace), above, nil, []notices.Kind{NoticeDiskSuspended}, true, false},
		"unpaid, noted behind that": {unpaid("disk"), nil, above, nil, nil, false, false},
		"unpaid, larger plan":       {unpaid("disk"), nil, mark, nil, nil, false, true},
		"scheduled for deletion":    {tenants.Tenant{State: tenants.Scheduled, Desired: tenants.WantsDeleted}, ago(grace), above, ago(grace), nil, false, false},
		"stopped and still above":   {stopped, nil, above, nil, nil, false, false},
		"stopped, larger plan":      {stopped, nil, mark, nil, []notices.Kind{NoticeDiskResumed}, false, true},
		"resumed by an admin":       {active, nil, above, &now, []notices.Kind{NoticeDiskOver}, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := q.judge(tt.tenant, tenants.Disk{ToldPercent: 100, OverSince: tt.since}, diskAt(now, tt.bytes), limitForTests)
			require.Equal(t, tt.want, v.disk.OverSince)
			require.Equal(t, tt.tell, v.tell)
			require.Equal(t, tt.suspend, v.suspend)
			require.Equal(t, tt.resume, v.resume)
			require.Equal(t, 100, v.disk.ToldPercent)
		})
	}
}
