package server

import (
	"strings"

	"github.com/highlander-io/highlander/config"
)

// Reload reads the configuration file again and puts it into force. A bad file changes nothing: the last good
// one stays, and the error says why.
func (s *Server) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.reload()
	if err != nil {
		s.metrics.reloadOK.Set(0)
		s.logger.Error("reload failed, the last good configuration stays", "err", err)
		return err
	}
	s.metrics.reloadOK.Set(1)
	s.metrics.reloadTime.Set(float64(s.options.Now().UnixNano()) / 1e9)
	return nil
}

func (s *Server) reload() error {
	if s.options.ConfigFile == "" {
		s.logger.Warn("there is nothing to reload: the node was started without --config.file")
		return nil
	}
	next, warnings, err := config.Load(s.options.ConfigFile)
	if err != nil {
		return err
	}
	if s.options.Overrides != nil {
		if err := s.options.Overrides(&next); err != nil {
			return err
		}
	}
	if err := next.Validate(); err != nil {
		return err
	}
	if err := s.egress.Reload(destinations(&next)); err != nil {
		return err
	}
	running := runnable(s.Config(), next)
	s.ingest.Reload(ingestOptions(&running))
	if keys := fixedKeys(&running, &next); len(keys) > 0 {
		s.logger.Warn("these sections differ from what is in force, they need a restart", "sections", strings.Join(keys, ", "))
	}
	for _, warning := range warnings {
		s.logger.Warn("configuration", "warning", warning.String())
	}
	s.config.Store(&running)
	s.logger.Info("configuration reloaded", "file", s.options.ConfigFile, "config_hash", running.Hash())
	return nil
}
